"""The server: whom it answers, what it keeps, and where."""

import http.client
import json
import os

import numpy as np
import pytest

from tests.web.conftest import serving, take, wait_for
from wsign_jax.common.errors import WSignError
from wsign_jax.web import recordings, site
from wsign_jax.web.recordings import Recordings


@pytest.fixture
def ask(tmp_path, small_training):
    """Asks the server of a small site; the status, and the answer's content."""
    folder = tmp_path / "site"
    for name in ("index.html", "app.js", "vendor/a.wasm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "site.json").write_text('{"model": "", "record": "takes"}')
    (tmp_path / "secret").write_text("mine")
    training = small_training()
    with serving(folder, Recordings(tmp_path / "takes"), training) as address:
        host = address.removeprefix("http://")

        def ask(method, path, body=None, **headers):
            connection = http.client.HTTPConnection(host)
            named = {"host": host} | {k: v for k, v in headers.items() if v is not None}
            if method != "GET" and "origin" not in headers:
                named["origin"] = address
            connection.request(method, path, body, named)
            response = connection.getresponse()
            ask.headers = response.headers
            content = response.read()
            connection.close()
            return response.status, content

        yield ask


def test_files_come_with_the_policy(ask):
    assert ask("GET", "/") == (200, b"index.html")
    assert ask("GET", "/vendor/a.wasm") == (200, b"vendor/a.wasm")
    assert ask.headers["content-type"] == "application/wasm"
    assert "connect-src 'self'" in ask.headers["content-security-policy"]
    assert ask.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"host": "evil.example:80"}, 403),
        ("GET", "/", {"host": "127.0.0.1.evil.example"}, 403),
        ("GET", "/takes", {"origin": "http://evil.example"}, 403),
        ("POST", "/takes", {"origin": "http://evil.example"}, 403),
        ("POST", "/takes", {"origin": "null"}, 403),
        ("POST", "/takes", {"origin": None}, 403),
        ("DELETE", "/takes/secret", {}, 404),
        ("DELETE", "/takes/..%2Fsecret", {}, 404),
        ("GET", "/../secret", {}, 404),
        ("GET", "/%2e%2e/secret", {}, 404),
        ("GET", "/vendor/..%2f..%2fsecret", {}, 404),
        ("PUT", "/takes", {}, 405),
        ("POST", "/training", {"origin": "http://evil.example"}, 403),
        ("DELETE", "/training", {"origin": None}, 403),
        ("DELETE", "/training", {}, 409),
        ("GET", "/model-1/stream.json", {}, 404),
    ],
)
def test_others_are_refused(ask, tmp_path, method, path, headers, status):
    found, _ = ask(method, path, b"" if method != "GET" else None, **headers)
    assert found == status
    assert (tmp_path / "secret").read_text() == "mine" and not any((tmp_path / "takes").iterdir())


PROXY = "https://8000-m-s-1a.europe-west4-0.prod.colab.dev"


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        # Whether Colab's proxy passes the name on that the browser asked for is its own affair.
        (PROXY.removeprefix("https://"), PROXY, 200),
        (None, PROXY, 200),
        (PROXY.removeprefix("https://"), None, 403),
        ("8001-m-s-1a.europe-west4-0.prod.colab.dev", PROXY, 403),
        (None, "https://8001-m-s-1a.europe-west4-0.prod.colab.dev", 403),
        (None, PROXY.replace("https", "http"), 403),
    ],
)
def test_the_page_is_shown_in_colab_at_the_one_address_that_was_named(
    tmp_path, host, origin, status
):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").touch()
    recordings = Recordings(tmp_path / "takes")
    with serving(tmp_path / "site", recordings, colab=f"{PROXY}/") as address:
        own = address.removeprefix("http://")
        connection = http.client.HTTPConnection(own)
        headers = {"host": host or own} | ({"origin": origin} if origin else {})
        connection.request("POST", "/takes", take(), headers)
        response = connection.getresponse()
        assert response.status == status, response.read()
        frames = response.headers["content-security-policy"].partition("frame-ancestors ")[2]
        assert frames == "'self' https://colab.research.google.com https://*.googleusercontent.com"
        connection.close()


def test_a_take_is_kept_and_removed(ask, tmp_path):
    status, content = ask("POST", "/takes", take())
    answer = json.loads(content)
    assert status == 200 and answer["takes"] == {"hello": 1}
    assert (tmp_path / "takes" / answer["name"]).read_bytes() == take()
    assert Recordings(tmp_path / "takes").counts() == {"hello": 1}
    assert json.loads(ask("GET", "/takes")[1]) == {"takes": {"hello": 1}}
    assert json.loads(ask("DELETE", f"/takes/{answer['name']}")[1]) == {"takes": {}}
    assert not any((tmp_path / "takes").iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not one take"),
        (b"PK\x03\x04", "not one take"),
        (take(present=np.zeros((1, 60, 2), np.uint8)), "no hand was seen"),
        (take(glosses=np.array(["a\x00b"])), "control character"),
        (take(glosses=np.array(["a" * 201])), "over 200 letters"),
        (take(glosses=np.array([" "])), "no gloss; name the sign"),
        (take(glosses=np.array(["<blank>"])), "no gloss; name the sign"),
        (take(id=np.array(["../../evil"])), "the take's id"),
        (take(split=np.array(["test"])), "not one take"),
        (take(keypoints=np.zeros((2, 60, 42, 3), np.float32)), "not one take"),
        (bytes(recordings.MOST_BYTES + 1), "at most 16 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "take",
)
def test_what_is_no_take_is_refused(ask, tmp_path, content, said):
    status, answer = ask("POST", "/takes", content)
    assert status in (400, 413) and said in answer.decode()
    assert not any((tmp_path / "takes").iterdir())


def test_a_trained_model_is_served_beside_the_first(ask, tmp_path):
    def told(method="GET"):
        status, content = ask(method, "/training")
        return json.loads(content) if status == 200 else (status, content.decode())

    assert told()["state"] == "idle"
    assert told("POST")["state"] == "importing"
    assert told("POST") == (409, "a training is on; wait until it ends, or stop it")
    assert told("DELETE")["line"].startswith("it saves and ends")
    assert wait_for(lambda: (now := told())["state"] == "idle" and now)["line"].startswith(
        "stopped"
    )
    (tmp_path / "go").touch()
    told("POST")
    model = wait_for(lambda: told()["model"])
    assert json.loads(ask("GET", "/site.json")[1]) == {"model": model, "record": "takes"}
    assert ask("GET", f"/{model}/stream.json") == (200, b"new")
    assert ask("GET", f"/{model}/..%2f..%2fsecret")[0] == 404


def test_a_folder_of_something_else_takes_no_recordings(tmp_path):
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(WSignError, match=r"holds holiday.mp4, which is no take .*--record=DIR"):
        Recordings(tmp_path)


def test_a_port_that_is_taken_is_one_line():
    pytest.importorskip("uvicorn")
    from wsign_jax.web import server  # noqa: PLC0415 - needs the extra `web`

    with server.open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WSignError, match=rf"127.0.0.1:{port} cannot be served at .*--port"):
            server.open_socket("127.0.0.1", port)


def test_a_site_is_only_written_over_a_site(tmp_path):
    site.check_free(tmp_path / "new", replace=False)
    (tmp_path / "holiday.mp4").touch()
    for replace in (False, True):
        with pytest.raises(WSignError, match="not empty; name another --out, this is no site"):
            site.check_free(tmp_path, replace)
    (tmp_path / "site.json").touch()
    (tmp_path / "vendor").mkdir()
    with pytest.raises(WSignError, match="not empty; name another --out, or give --replace"):
        site.check_free(tmp_path, replace=False)
    with pytest.raises(
        WSignError, match=r"holds holiday.mp4, which is not of the page; move it away"
    ):
        site.check_free(tmp_path, replace=True)
    (tmp_path / "holiday.mp4").unlink()
    site.check_free(tmp_path, replace=True)


def test_a_site_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(site.assets, "write_assets", lambda folder, _: folder.mkdir())
    folder, link = tmp_path / "site", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    site.write_site(link, None, "first")
    rename = os.rename

    def fail(old, new):
        if new == folder and "partial" in old.name and (old / "site.json").exists():
            monkeypatch.setattr(os, "rename", rename)
            raise OSError("the disk is full")
        rename(old, new)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="disk is full"):
        site.write_site(folder, None, "second")
    assert json.loads((folder / "site.json").read_text())["record"] == "first"
    site.write_site(folder, None, "third")
    assert json.loads((folder / "site.json").read_text())["record"] == "third"
    assert {path.name for path in tmp_path.iterdir()} == {"site", "link"}
