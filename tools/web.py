"""python tools/web.py --checkpoint=RUN [--record=DIR] [--out=DIR [--replace]] [...]

Opens a page in the browser that recognizes signing from the camera and from videos, and records signs.
Nothing leaves this machine. With --record=DIR it keeps recordings in DIR, and trains on them into data/
and runs/ of the current folder; without it they are downloads. With --record=DIR alone, the page
recognizes once a model has been trained.

--out=DIR writes the page as static files for any web host, and serves nothing; a camera needs https.
This tool needs pip install -e ".[web]". Ctrl-C ends it: a training then saves, and the command that goes
on with it is printed.
"""

import argparse
import contextlib
import functools
import os
import pathlib
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error
from wsign_jax.web import site


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = Parser(__doc__)
    path, add = pathlib.Path, parser.add_argument
    add(
        "--checkpoint",
        metavar="RUN",
        type=path,
        help="a run's folder (its best), or a checkpoint's",
    )
    add(
        "--record", metavar="DIR", type=path, help="a folder for recordings, new or of earlier ones"
    )
    parser.add_out("a new folder for the static page")
    add("--replace", action="store_true", help="replace the page in --out")
    add(
        "--assets",
        metavar="DIR",
        type=path,
        help="copies of the files that are downloaded otherwise",
    )
    add("--port", type=int, default=8000, help="to serve at; 0: a free one (8000)")
    add("--host", default="127.0.0.1", help="address to serve at (127.0.0.1)")
    add(
        "--colab",
        default="",
        metavar="ADDRESS",
        help="where Colab's proxy shows the page in a notebook, which is then answered too",
    )
    add("--no_browser", action="store_true", help="do not open the browser")
    flags = parser.parse_args()
    if flags.checkpoint is None and flags.record is None:
        raise WSignError("name a run with --checkpoint=RUN, or a folder with --record=DIR")
    if flags.out and flags.record:
        raise WSignError("--record is for a page that is served; leave it out, or --out")
    if flags.replace and not flags.out:
        raise WSignError("--replace is for the page in --out; leave it out, or name --out=DIR")
    return flags


def model_writer(checkpoint: pathlib.Path | None) -> Callable[[pathlib.Path], None] | None:
    """Opens a run; returns the function that writes its model into a folder."""
    if checkpoint is None:
        return None
    if checkpoint.is_file():
        raise WSignError(f"--checkpoint={checkpoint}: is a file; the page needs the run's folder")
    from wsign_jax.recognize.run_backend import RunBackend  # noqa: PLC0415 - takes seconds
    from wsign_jax.web import model_folder  # noqa: PLC0415

    with contextlib.redirect_stdout(sys.stderr):
        run = RunBackend(checkpoint)
        print("preparing the page ...")
    return functools.partial(model_folder.write_model_folder, run.trained)


def write(flags: argparse.Namespace) -> None:
    """Writes the page into --out."""
    site.check_free(flags.out, flags.replace)
    site.write_site(flags.out, model_writer(flags.checkpoint), given=flags.assets)
    size = sum(path.stat().st_size for path in flags.out.rglob("*") if path.is_file())
    print(f"{flags.out}  {size / 1e6:.1f} MB")


def serve(flags: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C."""
    try:
        from wsign_jax.web import recordings, server, training  # noqa: PLC0415 - may be missing
    except ModuleNotFoundError as error:
        raise WSignError(f'{error.name} is not installed; pip install -e ".[web]"') from None

    takes = recordings.Recordings(flags.record) if flags.record else None
    with (
        server.open_socket(flags.host, flags.port) as sock,
        tempfile.TemporaryDirectory() as folder,
    ):
        place = pathlib.Path(folder) / "site"
        site.write_site(
            place, model_writer(flags.checkpoint), str(flags.record or ""), flags.assets
        )
        project = pathlib.Path(os.path.relpath(pathlib.Path(__file__).parents[1]))
        trains = training.Training(flags.record, place.parent, project) if flags.record else None
        app = server.make_app(place, flags.host, takes, trains, flags.colab)
        name = f"[{flags.host}]" if ":" in flags.host else flags.host
        address = f"http://{name}:{sock.getsockname()[1]}/"
        print(f"{address}  Ctrl-C ends it", flush=True)
        if not flags.no_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: no training goes on alone
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        try:
            server.serve(app, sock)
        except KeyboardInterrupt:
            pass
        finally:
            if trains:
                trains.close()


def main() -> None:
    """Writes the page, or serves it."""
    with exit_on_user_error():
        flags = parse()
        (write if flags.out else serve)(flags)


if __name__ == "__main__":
    main()
