"""Serves the page to this machine's browser, takes recordings, and trains on them.

GET  /, /app.js, ...   the site's files, by a table that is made once: no path comes from a client
GET  /takes            {"takes": {gloss: count}}
POST /takes            a take, as `recordings.py` has it; answers {"name": ..., "takes": ...}
DELETE /takes/NAME     deletes a take that this server has named
GET  /training         how far the training is, as `training.py` has it; nothing is read from a client
POST /training         starts one; DELETE /training stops it
GET  /model-N/NAME     a file of a model that was trained
"""

import ipaddress
import pathlib
import re
import socket
import urllib.parse
from collections.abc import Callable, Iterable

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.web import site
from wsign_jax.web.recordings import MOST_BYTES, Recordings
from wsign_jax.web.training import Training

_ANY = {"0.0.0.0", "::", ""}  # an address that stands for all of this machine's
_LOCAL = {"127.0.0.1", "localhost", "[::1]"}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
# Where Colab shows what a cell has put out.
_COLAB_FRAMES = "https://colab.research.google.com https://*.googleusercontent.com"
_HEADERS = {
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def make_app(
    folder: pathlib.Path,
    host: str,
    recordings: Recordings | None = None,
    training: Training | None = None,
    colab: str = "",
) -> ASGIApp:
    """Makes the application that serves a site's folder.

    `host` is the address that it is bound to; requests for another name or from another site's page are
    refused. `colab` is the https address at which Colab's proxy shows the page in a notebook, '' if none
    does; requests for that one are answered too.

    Raises:
        WSignError: `colab` is no such address.
    """
    routes = [] if training is None else [*_routes_of_training(training, folder / site.ABOUT)]
    routes += [
        Route("/" + path.relative_to(folder).as_posix(), _file(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    routes.append(Route("/", _file(folder / "index.html")))
    if recordings is not None:
        routes += _routes_of(recordings)
    return _Guard(Starlette(routes=routes), host, _origin_of(colab) if colab else "")


def _file(path: pathlib.Path) -> Callable[[Request], Response]:
    kind = _TYPES.get(path.suffix, "application/octet-stream")

    def send(_: Request) -> Response:
        return FileResponse(path, media_type=kind)

    return send


def _routes_of(recordings: Recordings) -> Iterable[Route]:
    def answer(**fields: object) -> Response:
        return JSONResponse({**fields, "takes": recordings.counts()})

    def count(_: Request) -> Response:
        return answer()

    async def save(request: Request) -> Response:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > MOST_BYTES:
                return _refusal(413, f"a take has at most {MOST_BYTES >> 20} MiB; record less")
        try:
            name = await run_in_threadpool(recordings.save, bytes(content))
        except WSignError as error:
            return _refusal(400, str(error))
        except OSError as error:
            return _refusal(507, f"{recordings.folder} cannot be written ({error.strerror})")
        return answer(name=name)

    def remove(request: Request) -> Response:
        try:
            recordings.remove(request.path_params["name"])
        except WSignError as error:
            return _refusal(404, str(error))
        except OSError as error:
            return _refusal(507, f"the take cannot be deleted ({error.strerror})")
        return answer()

    return (
        Route("/takes", count, methods=["GET"]),
        Route("/takes", save, methods=["POST"]),
        Route("/takes/{name}", remove, methods=["DELETE"]),
    )


def _routes_of_training(training: Training, about: pathlib.Path) -> Iterable[Route]:
    """Makes the routes of a training; site.json then names the newest model."""
    content = files.read_json(about)

    def describe(_: Request) -> Response:
        return JSONResponse({**content, "model": training.model or content["model"]})

    def model(request: Request) -> Response:
        path = training.files.get("model-{number}/{name}".format(**request.path_params))
        return _file(path)(request) if path else _refusal(404, "there is no such model")

    def tell(_: Request) -> Response:
        return JSONResponse(training.progress())

    def start(request: Request) -> Response:
        try:
            training.start()
        except WSignError as error:
            return _refusal(409, str(error))
        except OSError as error:
            return _refusal(507, f"{error.filename} cannot be written ({error.strerror})")
        return tell(request)

    def stop(request: Request) -> Response:
        try:
            training.stop()
        except WSignError as error:
            return _refusal(409, str(error))
        return tell(request)

    return (
        Route(f"/{site.ABOUT}", describe),
        Route("/model-{number:int}/{name}", model),
        Route("/training", tell, methods=["GET"]),
        Route("/training", start, methods=["POST"]),
        Route("/training", stop, methods=["DELETE"]),
    )


def _refusal(status: int, why: str) -> Response:
    return PlainTextResponse(why, status)


class _Guard:
    """Refuses requests for another host or of another site's page, and adds the headers."""

    def __init__(self, app: ASGIApp, host: str, proxy: str):
        self._app, self._host, self._proxy = app, host, proxy
        frames = f"'self' {_COLAB_FRAMES}" if proxy else "'self'"
        policy = f"{site.POLICY}; frame-ancestors {frames}"
        self._headers = {**_HEADERS, "content-security-policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the server's start and end
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in self._headers.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        why = self._refused(Request(scope))
        app = _refusal(403, why) if why else self._app
        return await app(scope, receive, send_with_headers)

    def _refused(self, request: Request) -> str:
        hosts = request.headers.getlist("host")
        # A proxy may name itself as the host, or this machine.
        is_proxy = bool(self._proxy) and hosts == [self._proxy.removeprefix("https://")]
        if not is_proxy and (len(hosts) != 1 or not _is_own(hosts[0], self._host)):
            return f"this server is not {', '.join(hosts)}; open the address that it has printed"
        origins = request.headers.getlist("origin")
        # A browser names the page that asks, at least if it changes anything.
        own = [f"{request.url.scheme}://{hosts[0]}"], [self._proxy]
        if origins not in own and (origins or request.method not in ("GET", "HEAD")):
            return "only this server's own page may ask that"
        return ""


def _origin_of(address: str) -> str:
    """Returns the origin of a proxy's address as browsers name it."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.path.strip("/"):
        raise WSignError(
            f"--colab={address}: is not what google.colab.kernel.proxyPort gives, https://..."
        )
    return f"https://{parts.netloc.lower()}"


def _is_own(given: str, host: str) -> bool:
    """Tells whether the Host of a request names this machine: otherwise a name may have been rebound."""
    name = re.sub(r":\d+$", "", given).lower()
    if name in _LOCAL or name == host.lower():
        return True
    if host not in _ANY:
        return False
    try:
        ipaddress.ip_address(name.strip("[]"))  # an address cannot be rebound
    except ValueError:
        return name == socket.gethostname().lower()
    return True


def open_socket(host: str, port: int) -> socket.socket:
    """Binds the address to serve at; port 0 takes a free one.

    Raises:
        WSignError: it is taken, or not this machine's.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except (OSError, OverflowError) as error:
        raise WSignError(
            f"{host}:{port} cannot be served at ({error}); name another --port, or 0 for a free one"
        ) from None


def serve(app: ASGIApp, sock: socket.socket) -> None:
    """Serves until Ctrl-C."""
    config = uvicorn.Config(app, log_level="warning", lifespan="off", server_header=False)
    uvicorn.Server(config).run(sockets=[sock])
