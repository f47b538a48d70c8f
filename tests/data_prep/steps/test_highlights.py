"""Highlights: small white spots are found and filled in, large or dim ones left."""

import cv2
import numpy as np

from data_prep.steps.highlights import find_highlights, remove_highlights
from tests.data_prep.fields import tissue


def spotted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tissue without and with highlights, and where they are."""
    rng = np.random.default_rng(seed)
    plain = tissue(rng, 480, 600)
    spots = np.zeros((480, 600), np.uint8)
    for x, y in zip(rng.integers(30, 570, 20), rng.integers(30, 450, 20), strict=True):
        cv2.circle(spots, (int(x), int(y)), int(rng.integers(2, 10)), 255, cv2.FILLED)
    image = plain.copy()
    image[spots > 0] = 255
    return plain, cv2.GaussianBlur(image, (0, 0), 0.7), spots > 0


def test_spots_are_found_and_little_else() -> None:
    for seed in range(4):
        plain, image, spots = spotted(seed)
        found = find_highlights(image)
        assert found[spots].mean() >= 0.99
        near = cv2.dilate(spots.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
        assert not found[~near].any()
        assert not find_highlights(plain).any()


def test_what_is_filled_in_is_the_tissue_that_was_there() -> None:
    plain, image, spots = spotted(0)
    removed = remove_highlights(image)
    assert np.abs(removed.astype(int) - plain)[spots].mean() <= 8
    found = find_highlights(image)
    np.testing.assert_array_equal(removed[~found], image[~found])


def test_large_overexposed_areas_and_coloured_spots_are_left() -> None:
    image = tissue(np.random.default_rng(5), 480, 600)
    cv2.circle(image, (300, 240), 90, (255, 255, 255), cv2.FILLED)
    cv2.circle(image, (80, 80), 6, (255, 120, 90), cv2.FILLED)
    found = find_highlights(image)
    assert not found[240, 300]
    assert not found[80, 80]
