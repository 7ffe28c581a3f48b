import os
import sys

import pytest
from mediapipe.tasks.python import vision

from tests.helpers import videos
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import landmarker, native_libs, video


def test_a_missing_system_library_names_the_packages(monkeypatch):
    def missing(*_):
        raise OSError("libGLESv2.so.2: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(vision.HandLandmarker, "create_from_options", missing)
    with pytest.raises(WSignError) as caught:
        landmarker.Landmarker(videos.model())
    assert str(caught.value) == (
        "the system library libGLESv2.so.2 is missing; on Debian or Ubuntu: "
        "apt-get install libegl1 libgles2 libgl1 libglib2.0-0"
    )


@pytest.mark.parametrize(
    ("name", "load"), [("mediapipe", landmarker.load_mediapipe), ("av", video.load_av)]
)
def test_a_missing_package_names_the_extra(monkeypatch, name, load):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        WSignError, match=rf'{name} is not installed; .*pip install -e "\.\[video\]"'
    ):
        load()


def test_other_failures_stay_what_they_are():
    with pytest.raises(OSError, match="disk"), native_libs.explain_missing_library():
        raise OSError("disk")


def test_native_noise_is_kept_back_and_errors_are_not(capfd):
    with native_libs.hide_native_log():
        os.write(2, b"W0000 00:00:1795.5 1 calculator.cc:81] Using NORM_RECT\nINFO: Created\n")
        os.write(2, b"E0000 00:00:1795.5 1 graph.cc:1] no memory\n")
        print("a Python line", file=sys.stderr)
    print("after", file=sys.stderr)
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == ["E0000 00:00:1795.5 1 graph.cc:1] no memory", "a Python line", "after"]
