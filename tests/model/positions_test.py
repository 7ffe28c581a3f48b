import numpy as np
import pytest

from wsign_jax.model import positions


def test_rotary_angles_by_hand():
    # Of 4 values a head the first pair turns by 1 a patch, the second by 10,000^(-2 / 4) = 0.01.
    cos, sin = positions.rotary_angles(2, 2, 4)
    np.testing.assert_allclose(cos, [[-0.4161468, 0.9998000], [-0.9899925, 0.9995500]], rtol=1e-6)
    np.testing.assert_allclose(sin, [[0.9092974, 0.0199987], [0.1411200, 0.0299955]], rtol=1e-5)


def test_sinusoids_are_whispers():
    table = positions.sinusoids(20, 8)
    np.testing.assert_array_equal(table[0], [0, 0, 0, 0, 1, 1, 1, 1])
    # Angles 7, 7 * 10,000^(-1 / 3), 7 * 10,000^(-2 / 3) and 7 / 10,000.
    np.testing.assert_allclose(table[7, :4], [0.6569866, 0.3192247, 0.0150805, 7e-4], rtol=1e-5)
    np.testing.assert_allclose(table[7, 4:6], [0.7539023, 0.9476797], rtol=1e-5)


@pytest.mark.parametrize("kind", [positions.ROTARY, "auto"])
def test_tables_begin_with_the_first_patch(kind):
    rotary = positions.position_tables(kind, 3, 8, 4)
    np.testing.assert_array_equal(rotary, positions.rotary_angles(0, 3, 4))
    assert rotary[0].shape == (3, 2)
    [table] = positions.position_tables(positions.SINUSOIDAL, 3, 8, 4)
    assert table.shape == (3, 8)
