"""What every step promises for every picture: shape, dtype, an untouched input, the same answer each time."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.detection.field_of_view import field_mask, find_field_of_view
from data_prep.images.box import Box
from data_prep.steps.clahe import equalise
from data_prep.steps.denoise import denoise
from data_prep.steps.guess_modality import guess_modality
from data_prep.steps.highlights import find_highlights, remove_highlights
from data_prep.steps.match import ReferenceHistogram, match_histogram
from data_prep.steps.overlays import find_overlays, mask_overlays
from data_prep.steps.resize import resize

REFERENCE = ReferenceHistogram()
REFERENCE.add(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))

STEPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "overlays": lambda image: mask_overlays(image, find_overlays(image)),
    "denoise": denoise,
    "histogram": lambda image: match_histogram(image, REFERENCE),
    "clahe": equalise,
    "specular": remove_highlights,
    "resize": lambda image: resize(image, 64, "none"),
}
KEEPS_GREY = {"denoise", "clahe", "specular", "resize", "overlays"}
MASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"overlays": find_overlays, "highlights": find_highlights}

ODD_PICTURES = {
    "black": np.zeros((60, 70, 3), np.uint8),
    "white": np.full((60, 70, 3), 255, np.uint8),
    "one pixel": np.full((1, 1, 3), 130, np.uint8),
    "a row": np.random.default_rng(1).integers(0, 256, (1, 90, 3), dtype=np.uint8),
    "a column": np.random.default_rng(1).integers(0, 256, (90, 1, 3), dtype=np.uint8),
    "a strip": np.random.default_rng(2).integers(0, 256, (4, 3000, 3), dtype=np.uint8),
    "noise": np.random.default_rng(3).integers(0, 256, (97, 61, 3), dtype=np.uint8),
}

PICTURES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 255))
)


def check(step: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> None:
    before = image.copy()
    image.setflags(write=False)
    result = step(image)
    assert result.dtype == np.uint8
    assert result.shape == image.shape
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(step(image), result)


@pytest.mark.parametrize("name", STEPS)
@given(image=PICTURES)
def test_a_step_is_a_pure_function_of_the_picture(name: str, image: np.ndarray) -> None:
    check(STEPS[name], image)


@pytest.mark.parametrize("picture", ODD_PICTURES)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_takes_odd_pictures(name: str, picture: str) -> None:
    check(STEPS[name], ODD_PICTURES[picture].copy())


@pytest.mark.parametrize("name", sorted(KEEPS_GREY))
@given(grey=arrays(np.uint8, (24, 31), elements=st.integers(0, 255)))
def test_grey_stays_grey(name: str, grey: np.ndarray) -> None:
    result = STEPS[name](np.repeat(grey[..., None], 3, axis=2))
    assert np.ptp(result.astype(int), axis=2).max() == 0


@pytest.mark.parametrize("picture", ODD_PICTURES)
def test_searches_take_odd_pictures(picture: str) -> None:
    image = ODD_PICTURES[picture].copy()
    image.setflags(write=False)
    for search in MASKS.values():
        found = search(image)
        assert found.dtype == bool
        assert found.shape == image.shape[:2]
    box = find_field_of_view(image)
    assert (box is None) == (picture == "black")
    whole = Box(0, 0, *image.shape[:2])
    assert field_mask(image, whole).shape == image.shape[:2]
    modality, confidence = guess_modality(image)
    assert modality in ("WL", "NBI")
    assert 0.5 <= confidence <= 1


@pytest.mark.parametrize("value", [0, 255])
def test_flat_pictures_hold_nothing_to_find(value: int) -> None:
    image = np.full((120, 160, 3), value, np.uint8)
    assert not find_overlays(image).any()
    assert not find_highlights(image).any()
