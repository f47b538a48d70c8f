"""Histogram matching against scikit-image and by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.exposure import match_histograms

from data_prep.images.histogram import histogram
from data_prep.steps.match import match_histogram

PICTURES = st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 255))
)


def of(*images: np.ndarray) -> np.ndarray:
    return np.sum([histogram(image) for image in images], axis=0)


@given(image=PICTURES, reference=PICTURES)
def test_equals_scikit_image_where_the_reference_is_one_picture(image: np.ndarray, reference: np.ndarray) -> None:
    expected = match_histograms(image, reference, channel_axis=2)
    found = match_histogram(image, of(reference))
    np.testing.assert_array_equal(found[image < 255], expected[image < 255])


@given(a=PICTURES, b=PICTURES, image=PICTURES)
def test_a_reference_of_two_pictures_is_that_of_their_pixels_together(
    a: np.ndarray, b: np.ndarray, image: np.ndarray
) -> None:
    together = np.concatenate([a.reshape(-1, 1, 3), b.reshape(-1, 1, 3)])
    np.testing.assert_array_equal(of(a, b), of(together))
    expected = match_histograms(image, together, channel_axis=2)
    np.testing.assert_array_equal(match_histogram(image, of(a, b))[image < 255], expected[image < 255])


def test_hand_worked() -> None:
    # Quantiles 0.25 -> 10, 0.75 -> 20, 1 -> 40. Of two pixels, the darker has rank 0.5: halfway from 10 to 20.
    reference = of(np.repeat(np.array([[10], [20], [20], [40]], np.uint8)[..., None], 3, axis=2))
    image = np.repeat(np.array([[100], [200]], np.uint8)[..., None], 3, axis=2)
    assert match_histogram(image, reference)[:, 0, 0].tolist() == [15, 40]


def test_overexposed_pixels_take_the_middle_of_their_ranks() -> None:
    # Half of the pixels are cut off at 255: their ranks are 0.5 to 1, so they become the 0.75-quantile.
    image = np.repeat(np.array([[100], [255]], np.uint8)[..., None], 3, axis=2)
    reference = of(np.repeat(np.arange(1, 101, dtype=np.uint8)[:, None, None], 3, axis=2))
    assert match_histogram(image, reference)[:, 0, 0].tolist() == [50, 75]


def test_masked_pixels_are_neither_counted_nor_changed() -> None:
    rng = np.random.default_rng(0)
    image, target = (rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(2))
    mask = rng.random((30, 40)) < 0.6
    matched = match_histogram(image, of(target), mask)
    np.testing.assert_array_equal(matched[~mask], image[~mask])
    alone = match_histogram(image[mask][:, None], of(target))
    np.testing.assert_array_equal(matched[mask], alone[:, 0])
    assert histogram(image, mask).sum() == 3 * mask.sum()
    np.testing.assert_array_equal(match_histogram(image, of(target), np.zeros_like(mask)), image)


def test_a_tint_is_undone() -> None:
    """White light drawn as narrow band: matched to the true colours, the tint is gone but for rounding."""
    rng = np.random.default_rng(1)
    image = rng.integers(60, 200, (80, 80, 3), dtype=np.uint8)
    tinted = (image * np.array([0.5, 0.9, 0.8])).astype(np.uint8)
    assert np.abs(match_histogram(tinted, of(image)).astype(int) - image).max() <= 3
