import numpy as np
import pytest

from configs import base
from tests.conftest import random_features
from wsign_jax.data import augment
from wsign_jax.keypoints import joints

FEATURES = random_features(np.random.default_rng(0), 120)
KEY = (42, 3, 7)


def switches(**on):
    """`data.augment` with everything off but what is named."""
    config = base.get_config().data.augment
    for name in config:
        if name != "temporal_mask_frames":
            config[name] = 0.0
    config.update(on)
    return config


def test_all_off_changes_nothing():
    same, hidden = augment.augment(FEATURES, 120, switches(), KEY)
    np.testing.assert_allclose(same, FEATURES, atol=2e-5)
    assert not hidden.any()


ONE_EACH = {
    "jitter": 2.0, "rotation": 20.0, "tilt": 20.0, "scale": 0.3, "shift": 0.1, "mirror": 1.0,
    "noise": 0.005, "temporal_mask": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_EACH)
def test_each_switch_does_something_and_can_be_repeated_from_its_key(name):
    config = switches(**{name: ONE_EACH[name]})
    first, _ = augment.augment(FEATURES, 120, config, KEY)
    again, _ = augment.augment(FEATURES, 120, config, KEY)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - FEATURES).max() > 1e-3
    if name != "mirror":
        for other_key in ((43, 3, 7), (42, 4, 7), (42, 3, 8)):
            other, _ = augment.augment(FEATURES, 120, config, other_key)
            assert (other != first).any(), f"{other_key} gave the same as {KEY}"


def test_velocities_are_those_of_the_new_positions():
    config = switches(rotation=20.0, scale=0.3, noise=0.005, temporal_mask=0.3)
    new, _ = augment.augment(FEATURES, 90, config, KEY)
    confidence = new[:, joints.WRISTS, joints.CONFIDENCE]
    expected = joints.features_from_positions(new[..., joints.POSITION], confidence)
    np.testing.assert_allclose(new, expected, rtol=1e-3, atol=1e-3)


def test_rotation_and_tilt_keep_the_hands_lengths():
    new, _ = augment.augment(FEATURES, 120, switches(rotation=30.0, tilt=30.0), KEY)
    for hand in joints.HANDS:
        seen = new[:, hand.start, joints.CONFIDENCE] > 0

        def bones(x, hand=hand, seen=seen):
            points = x[seen, hand, joints.POSITION]
            return np.linalg.norm(points[:, 1:] - points[:, :-1], axis=-1)

        np.testing.assert_allclose(bones(new), bones(FEATURES), rtol=1e-3, atol=1e-5)


def test_mirroring_twice_is_nothing():
    config = switches(mirror=1.0)
    once, _ = augment.augment(FEATURES, 120, config, KEY)
    np.testing.assert_array_equal(
        joints.seen_hands(once), joints.seen_hands(FEATURES)[:, ::-1], "hands not swapped"
    )
    twice, _ = augment.augment(once, 120, config, KEY)
    np.testing.assert_allclose(twice, FEATURES, atol=2e-5)


def test_a_new_pace_never_blends_a_hand_with_its_absence():
    new, _ = augment.augment(FEATURES, 143, switches(), KEY)
    seen = joints.seen_hands(new)
    assert 0 < seen[:, 0].sum() < 143
    positions = new[:, joints.LEFT, :2]
    assert np.abs(positions[~seen[:, 0]]).max() == 0.0
    true = FEATURES[joints.seen_hands(FEATURES)[:, 0]][:, joints.LEFT, :2]
    assert positions[seen[:, 0]].min() >= true.min() - 1e-5


def test_noise_has_the_size_asked_for_and_only_where_the_hand_is_seen():
    new, _ = augment.augment(FEATURES, 120, switches(noise=0.005), KEY)
    seen = FEATURES[..., joints.CONFIDENCE] > 0
    difference = (new - FEATURES)[..., joints.POSITION]
    assert np.std(difference[seen]) == pytest.approx(0.005, rel=0.05)
    np.testing.assert_array_equal(difference[~seen], 0.0)


def test_lost_stretches_are_short_and_take_both_hands():
    config = switches(temporal_mask=0.1)
    features = joints.features_from_positions(np.full((6000, 42, 3), 0.5), np.ones((6000, 2)))
    new, _ = augment.augment(features, 6000, config, KEY)
    lost = ~joints.seen_hands(new)
    np.testing.assert_array_equal(lost[:, 0], lost[:, 1])
    assert lost.mean() == pytest.approx(0.1 * 5.5 / 10, rel=0.25)


def test_hidden_joints_are_a_share_of_all_and_become_zero():
    config = switches(joint_mask=0.15)
    masks = np.stack([augment.augment(FEATURES, 120, config, (0, 0, i))[1] for i in range(200)])
    assert masks.mean() == pytest.approx(0.15, abs=0.01)
    features = FEATURES.copy()
    augment.hide_joints(features, masks[0])
    np.testing.assert_array_equal(features[:, masks[0]], 0.0)
    np.testing.assert_array_equal(features[:, ~masks[0]], FEATURES[:, ~masks[0]])


def test_lengths_stay_within_what_ctc_and_the_bound_allow():
    frames = np.array([100, 100, 1490, 40])
    shortest = np.array([4, 99, 4, 60])  # the last cannot be emitted even now: left as it is
    config = switches(speed=0.3)
    drawn = np.stack(
        [augment.augmented_frames(frames, shortest, 1500, config, 0, e) for e in range(50)]
    )
    assert drawn[:, 0].min() >= 70 and drawn[:, 0].max() <= 143
    assert drawn[:, 0].std() > 5
    assert drawn[:, 1].min() >= 99 and drawn[:, 2].max() <= 1500 and drawn[:, 3].min() >= 40


def test_lengths_depend_on_seed_and_epoch_only():
    frames, shortest = np.full(20, 300), np.full(20, 8)
    config = switches(speed=0.2)
    whole = augment.augmented_frames(frames, shortest, 1500, config, 1, 2)
    fewer = augment.augmented_frames(frames[:5], shortest[:5], 1500, config, 1, 2)
    np.testing.assert_array_equal(whole[:5], fewer, "an example's draw depends on the others")
    assert (whole != augment.augmented_frames(frames, shortest, 1500, config, 1, 3)).any()
