import base64
import hashlib
import io
import os
import tarfile

import pytest

from tests.helpers import videos
from wsign_jax.common.errors import WSignError
from wsign_jax.web import assets
from wsign_jax.web.assets import ONNX_RUNTIME, TASKS_VISION

NAMES = {"a.mjs", "b.wasm", "hand_landmarker.task", "LICENSES.txt"}


def packed(content):
    """A package as npm packs it, and its integrity hash."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in ("dist/a.mjs", "wasm/b.wasm", "README.md"):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    digest = hashlib.sha512(file.getvalue()).digest()
    return file.getvalue(), "sha512-" + base64.b64encode(digest).decode()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of npm that has both packages, small, beside the model; the cache is empty."""
    folder, content, hashed = tmp_path / "registry", *packed(b"code")
    small = [
        package._replace(integrity=hashed, files=files)
        for package, files in ((TASKS_VISION, ("wasm/b.wasm",)), (ONNX_RUNTIME, ("dist/a.mjs",)))
    ]
    monkeypatch.setattr(assets, "TASKS_VISION", small[0])
    monkeypatch.setattr(assets, "ONNX_RUNTIME", small[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", folder.as_uri() + "/")
    monkeypatch.setattr(assets.landmarker, "MODEL_URL", (folder / "m.task").as_uri())
    (folder / "@mediapipe/tasks-vision/-").mkdir(parents=True)
    (folder / "onnxruntime-web/-").mkdir(parents=True)
    (folder / "m.task").write_bytes(videos.model().read_bytes())
    (folder / "@mediapipe/tasks-vision/-/tasks-vision-0.10.35.tgz").write_bytes(content)
    (folder / "onnxruntime-web/-/onnxruntime-web-1.30.0.tgz").write_bytes(content)
    return folder


def test_what_is_needed_is_fetched_once(registry, tmp_path, monkeypatch, capsys):
    assets.write_assets(tmp_path / "site")
    assert {path.name for path in (tmp_path / "site").iterdir()} == NAMES
    assert (tmp_path / "site/b.wasm").read_bytes() == b"code"
    licenses = (tmp_path / "site/LICENSES.txt").read_text()
    assert "Apache License" in licenses and "Microsoft Corporation" in licenses
    assert capsys.readouterr().out.count("downloading") == 3

    monkeypatch.setenv("npm_config_registry", "file:///gone")
    assets.write_assets(tmp_path / "again")
    assert capsys.readouterr().out == ""
    # The cache is what another machine needs.
    assets.write_assets(tmp_path / "given", tmp_path / "cache/wsign_jax")
    assert {path.name for path in (tmp_path / "given").iterdir()} == NAMES


def test_npms_own_file_names_the_registry(registry, tmp_path, monkeypatch):
    monkeypatch.delenv("npm_config_registry")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert TASKS_VISION.url.startswith("https://registry.npmjs.org/@mediapipe/tasks-vision/-/")
    (tmp_path / ".npmrc").write_text(f'audit=false\nregistry = "{registry.as_uri()}/"\n')
    assert ONNX_RUNTIME.url == f"{registry.as_uri()}/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz"


def test_another_package_leaves_nothing(registry, tmp_path):
    path = registry / "onnxruntime-web/-/onnxruntime-web-1.30.0.tgz"
    path.write_bytes(b"please log in")
    with pytest.raises(
        WSignError, match=r"is not onnxruntime-web 1.30.0, or is damaged; put file:"
    ):
        assets.write_assets(tmp_path / "site")
    assert os.listdir(tmp_path / "cache/wsign_jax") == ["mediapipe-tasks-vision-0.10.35.tgz"]


def test_without_a_network_one_line_says_what_to_do(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")  # nothing listens
    said = r"^\S+-0.10.35.tgz: the package @mediapipe/tasks-vision is not here .*--assets=DIR$"
    with pytest.raises(WSignError, match=said):
        assets.write_assets(tmp_path / "site")
    said = r"^\S+-0.10.35.tgz: cannot be read \(No such file or directory\); put http\S+ there$"
    with pytest.raises(WSignError, match=said):
        assets.write_assets(tmp_path / "site", tmp_path)
