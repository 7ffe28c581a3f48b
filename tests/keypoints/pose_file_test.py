import numpy as np
import pytest

from tests.conftest import random_features
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints, pose_file

pose_format = pytest.importorskip("pose_format")


@pytest.fixture
def features():
    features = random_features(np.random.default_rng(0), 20)
    features[3:6, joints.LEFT] = 0.0
    return features


def test_what_is_written_is_read_back_here_and_by_the_package(features, tmp_path):
    path = tmp_path / "new" / "a.pose"
    pose_file.write_pose(path, features)
    positions, present, fps = pose_file.read_pose(path)
    expected, confidence = joints.positions_and_confidence(features)
    np.testing.assert_array_equal(present, confidence > 0)
    seen = np.repeat(present, 21, axis=1)
    np.testing.assert_allclose(positions[seen], expected[seen], atol=1e-5)
    assert fps == 60 and not present[3:6, 0].any()

    pose = pose_format.Pose.read(path.read_bytes())
    assert [c.name for c in pose.header.components] == [
        "LEFT_HAND_LANDMARKS",
        "RIGHT_HAND_LANDMARKS",
    ]
    assert pose.header.components[0].points[5] == "INDEX_FINGER_MCP"
    assert pose.body.data.shape == (20, 1, 42, 3) and pose.body.data.mask[4, 0, :21].all()
    np.testing.assert_allclose(pose.body.data[0, 0, 30], features[0, 30, :3] * 1000, rtol=1e-5)


def other(width=640, people=1, names=("POSE_LANDMARKS", *pose_file.COMPONENTS), points=21):
    """A file as MediaPipe Holistic's are, with a body of three points, 25 frames a second."""
    component = pose_format.pose_header.PoseHeaderComponent
    header = pose_format.PoseHeader(
        0.2,
        pose_format.pose_header.PoseHeaderDimensions(width, 480, 0),
        [
            component(name, ["x"] * (3 if name[0] == "P" else points), [], [], "XYZC")
            for name in names
        ],
    )
    data = np.tile(np.arange(header.total_points() * 3.0).reshape(1, 1, -1, 3), (4, people, 1, 1))
    confidence = np.ones(data.shape[:3])
    confidence[:2, :, -1] = 0.0
    body = pose_format.numpy.NumPyPoseBody(25.0, data, confidence)
    return pose_format.Pose(header, body)


def test_hands_are_found_by_their_names(tmp_path):
    with (tmp_path / "a.pose").open("wb") as file:
        other().write(file)
    positions, present, fps = pose_file.read_pose(tmp_path / "a.pose")
    assert positions.shape == (4, 42, 3) and present.all() and fps == 25
    np.testing.assert_allclose(positions[0, 0], np.array([9, 10, 11]) / 640)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"names": ("POSE_LANDMARKS",)}, "has POSE_LANDMARKS, and no LEFT_HAND_LANDMARKS of 21"),
        ({"points": 20}, "no LEFT_HAND_LANDMARKS of 21 points"),
        ({"people": 2}, "4 frames of 2 people; it must have one"),
        ({"width": 0}, "25 frames a second, 0 pixels wide"),
        (b"", "not a .pose file that can be read"),
        (b"\xff" * 5000, "not a .pose file that can be read"),
    ],
)
def test_another_file_is_one_line(tmp_path, how, message):
    path = tmp_path / "a.pose"
    if isinstance(how, bytes):
        path.write_bytes(how)
    else:
        with path.open("wb") as file:
            other(**how).write(file)
    with pytest.raises(WSignError) as caught:
        pose_file.read_pose(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pose_format", None)
    with pytest.raises(WSignError, match=r'pip install -e "\.\[pose\]"'):
        pose_file.read_pose(tmp_path / "a.pose")
