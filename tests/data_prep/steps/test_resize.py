"""Resizing: hand-worked sizes and values, no distortion."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.steps.resize import resize


@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 70))
def test_sizes(height: int, width: int, size: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    assert resize(image, size, "pad").shape == (size, size, 3)
    assert resize(image, size, "crop").shape == (size, size, 3)
    shorter = resize(image, size, "shorter")
    assert min(shorter.shape[:2]) == size
    assert max(shorter.shape[:2]) == round(max(height, width) * size / min(height, width))
    assert (resize(image, size, "crop") == 200).all(), "a flat picture stays flat"


def test_padding_is_black_and_centred() -> None:
    image = np.full((20, 40, 3), 77, np.uint8)
    padded = resize(image, 40, "pad")
    assert (padded[10:30] == 77).all()
    assert not padded[:10].any()
    assert not padded[30:].any()


def test_cropping_takes_the_centre() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 50
    assert (resize(image, 4, "crop") == 50).all()


def test_shrinking_averages_over_areas() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    means = image.reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize(image, 4, "pad") - means).max() <= 0.5


def test_circles_stay_round() -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    cv2.circle(image, (250, 150), 100, (255, 255, 255), cv2.FILLED)
    for fit in ("pad", "crop", "shorter"):
        bright = resize(image, 224, fit)[..., 0] > 127
        height, width = bright.any(axis=1).sum(), bright.any(axis=0).sum()
        assert abs(int(height) - int(width)) <= 1
