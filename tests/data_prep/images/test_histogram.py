"""Histograms and their statistics equal NumPy's over all pixels, also on sets too large for floats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.images.histogram import has_two_levels, histogram, mean_and_deviation, moments


@given(seed=st.integers(0, 1000))
def test_equal_numpys_over_all_pixels_of_several_pictures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*rng.integers(1, 9, 2), 3), dtype=np.uint8) for _ in range(5)]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    mean, deviation = mean_and_deviation(moments(image) for image in images)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(deviation, pixels.std(axis=0), rtol=1e-9, atol=1e-12)


def test_hand_worked() -> None:
    image = np.array([[[0, 255, 51]], [[255, 255, 51]]], np.uint8)
    assert mean_and_deviation([moments(image)]) == ([0.5, 1.0, 0.2], [0.5, 0.0, 0.0])
    counts = histogram(image, np.array([[True], [False]]))
    assert counts.sum() == 3
    assert counts[0, 0] == counts[1, 255] == counts[2, 51] == 1


def test_exact_where_floats_are_not() -> None:
    """10^13 pixels of 254 and one of 255: a sum of squares in float64 would lose the deviation."""
    bright = [[10**13, 254 * 10**13, 254**2 * 10**13]] * 3
    deviation = mean_and_deviation([bright, [[1, 255, 255**2]] * 3])[1][0]
    assert deviation * 255 == pytest.approx((10**13) ** 0.5 / (10**13 + 1), rel=1e-9)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0] * 60 + [255] * 40, True),
        # A map of one region among noise of compression.
        ([2, 5] * 40 + [120, 124] * 10, True),
        ([0] * 95 + [128, 255, 60, 70, 80], False),
        # One level only, and two that lie side by side, as in a dark photograph.
        ([7] * 100, False),
        ([10] * 50 + [30] * 50, False),
    ],
)
def test_masks_have_two_levels(levels, expected):
    image = np.broadcast_to(np.array(levels, np.uint8).reshape(10, 10, 1), (10, 10, 3))
    assert has_two_levels(np.ascontiguousarray(image)) is expected
