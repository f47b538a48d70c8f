"""The field of view of drawn frames, of whatever shape, border, text and guide; and where there is none."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.images.box import Box
from tests.data_prep.fields import found_box, frame, outline, overlap, tissue

SHAPES = ("rectangle", "octagon", "circle")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("border", "text", "guide"), [(0, False, False), (5, True, False), (16, True, True)])
def test_the_field_is_found_beside_and_under_text_and_guide(shape: str, border: int, text: bool, guide: bool) -> None:
    for seed, box in enumerate([Box(20, 150, 460, 620), Box(0, 60, 480, 600), Box(30, 20, 455, 500)]):
        image = frame(shape, box, border=border, seed=seed, text=text, guide=guide)
        found = found_box(image)
        assert found is not None
        assert overlap(found, box) >= 0.97, (found, box)


@given(
    shape=st.sampled_from(SHAPES),
    top=st.integers(0, 100),
    left=st.integers(0, 150),
    height=st.integers(200, 380),
    width=st.integers(200, 480),
    seed=st.integers(0, 100),
)
def test_a_field_anywhere_is_found_to_two_pixels(
    shape: str, top: int, left: int, height: int, width: int, seed: int
) -> None:
    box = Box(top, left, top + height, left + width)
    found = found_box(frame(shape, box, seed=seed))
    assert found is not None
    assert max(abs(a - b) for a, b in zip(found, box, strict=True)) <= 2


def test_dark_patches_of_the_scene_do_not_divide_it() -> None:
    box = Box(20, 100, 460, 600)
    image = frame("octagon", box)
    cv2.circle(image, (350, 240), 120, (2, 2, 2), cv2.FILLED)
    cv2.circle(image, (600, 240), 60, (2, 2, 2), cv2.FILLED)
    found = found_box(image)
    assert found is not None
    assert overlap(found, box) >= 0.97


def test_a_scene_that_fills_the_picture_is_the_whole_picture() -> None:
    image = tissue(np.random.default_rng(0), 300, 400)
    assert found_box(image) == Box(0, 0, 300, 400)
    assert found_box(np.full((9, 7, 3), 200, np.uint8)) == Box(0, 0, 9, 7)


@pytest.mark.parametrize("level", [0, 8, 24])
def test_an_almost_black_frame_has_no_field(level: int) -> None:
    noise = np.random.default_rng(0).integers(0, 4, (300, 400, 1))
    image = np.repeat((level + noise).astype(np.uint8), 3, axis=2)
    assert found_box(image) is None
    cv2.putText(image, "no signal", (40, 150), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
    assert found_box(image) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mask_is_the_field_without_its_dark_corners(shape: str) -> None:
    box = Box(20, 100, 460, 600)
    expected = cv2.fillPoly(np.zeros((480, 640), np.uint8), [outline(shape, box)], 1) > 0
    mask = field_of_view_mask(frame(shape, box))
    assert mask is not None
    assert (mask & expected).sum() / (mask | expected).sum() >= 0.99
    assert mask[240, 350]
    assert mask[25, 105] == (shape == "rectangle")
