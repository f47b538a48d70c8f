"""Channel statistics equal NumPy's over all pixels, in any grouping, also on sets too large for floats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.images.statistics import ChannelStatistics


@given(seed=st.integers(0, 1000), split=st.integers(0, 4))
def test_equal_numpys_over_all_pixels_however_they_are_merged(seed: int, split: int) -> None:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*rng.integers(1, 9, 2), 3), dtype=np.uint8) for _ in range(5)]
    first, second = ChannelStatistics(), ChannelStatistics()
    for place, image in enumerate(images):
        (first if place < split else second).add(image)
    second.merge(first)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    assert second.pixels == len(pixels)
    np.testing.assert_allclose(second.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(second.standard_deviation, pixels.std(axis=0), rtol=1e-9, atol=1e-12)


def test_hand_worked() -> None:
    statistics = ChannelStatistics()
    statistics.add(np.array([[[0, 255, 51]], [[255, 255, 51]]], np.uint8))
    assert statistics.mean == (0.5, 1.0, 0.2)
    assert statistics.standard_deviation == (0.5, 0.0, 0.0)


def test_exact_where_floats_are_not() -> None:
    """10^13 pixels of 254 and one of 255: a sum of squares in float64 would lose the deviation."""
    count = 10**13
    statistics = ChannelStatistics(count + 1, (254 * count + 255,) * 3, (254**2 * count + 255**2,) * 3)
    assert statistics.standard_deviation[0] * 255 == pytest.approx(count**0.5 / (count + 1), rel=1e-9)
