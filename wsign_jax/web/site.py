"""Writes the page as a folder of static files, for any web host; it calls no server."""

import os
import pathlib
import shlex
import shutil
from collections.abc import Callable

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.web import assets, model_folder, training

STATIC = pathlib.Path(__file__).with_name("static")
VENDOR, MODEL, ABOUT = "vendor", "model", "site.json"
# The browser blocks whatever is not the site's own, whoever asks for it.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
_POLICY_PLACE = "<!-- policy -->"


def check_free(folder: pathlib.Path, replace: bool) -> None:
    """Refuses a folder that holds anything, unless it is a site and `replace` is true.

    Raises:
        WSignError: something else is there.
    """
    folder = folder.resolve()
    files.check_writable(folder / ABOUT)
    if not folder.exists() or not any(folder.iterdir()):
        return
    is_site = (folder / ABOUT).is_file() and (folder / VENDOR).is_dir()
    if not (replace and is_site):
        fix = "or give --replace" if is_site else "this is no site that could be replaced"
        raise WSignError(f"{folder}: is not empty; name another --out, {fix}")
    own = {VENDOR, MODEL, ABOUT, *(path.name for path in STATIC.iterdir())}
    if others := sorted(path.name for path in folder.iterdir() if path.name not in own):
        raise WSignError(
            f"{folder}: holds {others[0]}, which is not of the page; move it away, or name another --out"
        )


def write_site(
    folder: pathlib.Path,
    write_model: Callable[[pathlib.Path], None] | None,
    record: str = "",
    given: pathlib.Path | None = None,
) -> None:
    """Writes the page; a site that is there is replaced once the new one is whole.

    Args:
        folder: of the site.
        write_model: writes the model into a folder; None for a page that only records.
        record: the folder in which a server keeps recordings, as the page calls it; '' if they are
            downloads.
        given: the folder of assets, see `assets.write_assets`.

    Raises:
        WSignError: an asset is missing.
        OSError: the folder cannot be written.
    """
    folder = folder.resolve()
    new, old = files.temporary_name(folder), files.temporary_name(folder)
    try:
        files.make_folder(new)
        for path in STATIC.iterdir():
            if path.name == "index.html":
                files.write(new / path.name, _page(path.read_text(encoding="utf-8")).encode())
            elif path.is_file():
                shutil.copyfile(path, new / path.name)
        assets.write_assets(new / VENDOR, given)
        if write_model:
            write_model(new / MODEL)
        plan = training.make_plan(pathlib.Path("recordings"), "my_signs")
        about = {
            "model": MODEL if write_model else "",
            "record": record,
            # A server says itself how it trains.
            "commands": [] if record else [shlex.join(command) for command in plan.commands],
            "keypoints": model_folder.keypoint_settings(),
        }
        files.write_json(new / ABOUT, about)
        if folder.exists():
            os.rename(folder, old)
        try:
            os.rename(new, folder)
        except BaseException:
            if old.exists():
                os.rename(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _page(text: str) -> str:
    """Returns index.html with the policy in it, for hosts that send none."""
    assert _POLICY_PLACE in text
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return text.replace(_POLICY_PLACE, meta)
