"""Grey-world white balance: hand-worked gains, means that agree, and what stays as it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.presets import PRESETS
from data_prep.steps.grey_world import balance


def flat(*colour: int) -> np.ndarray:
    return np.full((4, 5, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("strength", "limit", "expected"),
    [
        (1.0, 2.0, (100, 100, 100)),  # gains 100/120, 100/100, 100/80
        (0.0, 2.0, (120, 100, 80)),
        (0.5, 2.0, (110, 100, 89)),  # the square roots of the gains: 109.5 and 89.4
        (1.0, 1.1, (109, 100, 88)),  # 120/1.1 and 80*1.1
    ],
)
def test_hand_worked(strength: float, limit: float, expected: tuple[int, int, int]) -> None:
    np.testing.assert_array_equal(balance(flat(120, 100, 80), strength, limit), flat(*expected))


@given(arrays(np.uint8, (9, 8, 3), elements=st.integers(60, 120)))
def test_the_means_agree_where_nothing_is_clipped(image: np.ndarray) -> None:
    assert np.ptp(balance(image).reshape(-1, 3).mean(axis=0)) <= 1


def test_a_tint_is_removed() -> None:
    grey = np.random.default_rng(0).integers(40, 150, (50, 50, 1))
    tinted = (grey * np.array([1.3, 0.9, 0.8])).astype(np.uint8)
    assert np.ptp(balance(tinted).astype(int), axis=2).max() <= 3


@given(arrays(np.uint8, (7, 6), elements=st.integers(0, 255)), st.floats(0, 1), st.floats(1, 8))
def test_a_grey_picture_stays_as_it_is(grey: np.ndarray, strength: float, limit: float) -> None:
    image = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(balance(image, strength, limit), image)


def test_masked_pixels_neither_count_nor_change() -> None:
    image = flat(120, 100, 80)
    image[0] = 0, 0, 255
    mask = np.ones((4, 5), bool)
    mask[0] = False
    balanced = balance(image, mask=mask)
    np.testing.assert_array_equal(balanced[0], image[0])
    np.testing.assert_array_equal(balanced[1:], flat(100, 100, 100)[1:])
    np.testing.assert_array_equal(balance(image, mask=np.zeros_like(mask)), image)


def test_a_missing_channel_and_bright_pixels_stay_within_bytes() -> None:
    np.testing.assert_array_equal(balance(flat(200, 0, 100)), flat(100, 0, 100))
    assert balance(np.array([[[255, 255, 0], [255, 1, 1]]], np.uint8)).max() == 255


def test_every_preset_leaves_it_off() -> None:
    assert not any(preset.grey_world for preset in PRESETS.values())
