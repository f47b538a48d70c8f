"""The field of view of drawn frames, of whatever shape, border, text and guide; and where there is none."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.detection.field_of_view import field_mask, field_mask_of_void, field_of_view_of_void, find_field_of_view
from data_prep.images.box import Box, intersection_over_union
from tests.data_prep.fields import frame, outline, tissue

SHAPES = ("rectangle", "octagon", "circle")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", [0, 5, 16])
@pytest.mark.parametrize(("text", "guide"), [(False, False), (True, False), (True, True)])
def test_the_field_is_found_beside_and_under_text_and_guide(shape: str, border: int, text: bool, guide: bool) -> None:
    for seed, box in enumerate([Box(20, 150, 460, 620), Box(0, 60, 480, 600), Box(30, 20, 455, 500)]):
        image = frame(shape, box, border=border, seed=seed, text=text, guide=guide)
        found = find_field_of_view(image)
        assert found is not None
        assert intersection_over_union(found, box) >= 0.97, (found, box)


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
    found = find_field_of_view(frame(shape, box, seed=seed))
    assert found is not None
    assert max(abs(a - b) for a, b in zip(found, box, strict=True)) <= 2


def test_dark_patches_of_the_scene_do_not_divide_it() -> None:
    box = Box(20, 100, 460, 600)
    image = frame("octagon", box)
    cv2.circle(image, (350, 240), 120, (2, 2, 2), cv2.FILLED)
    cv2.circle(image, (600, 240), 60, (2, 2, 2), cv2.FILLED)
    assert intersection_over_union(find_field_of_view(image) or Box(0, 0, 0, 0), box) >= 0.97


def test_a_scene_that_fills_the_picture_is_the_whole_picture() -> None:
    image = tissue(np.random.default_rng(0), 300, 400)
    assert find_field_of_view(image) == Box(0, 0, 300, 400)
    assert find_field_of_view(np.full((9, 7, 3), 200, np.uint8)) == Box(0, 0, 9, 7)


@pytest.mark.parametrize("level", [0, 8, 24])
def test_an_almost_black_frame_has_no_field(level: int) -> None:
    noise = np.random.default_rng(0).integers(0, 4, (300, 400, 1))
    image = np.repeat((level + noise).astype(np.uint8), 3, axis=2)
    assert find_field_of_view(image) is None
    cv2.putText(image, "no signal", (40, 150), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
    assert find_field_of_view(image) is None
    assert field_mask(image, Box(0, 0, 300, 400)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mask_is_the_field_without_its_dark_corners(shape: str) -> None:
    box = Box(20, 100, 460, 600)
    expected = cv2.fillPoly(np.zeros((480, 640), np.uint8), [outline(shape, box)], 1)[20:460, 100:600] > 0
    mask = field_mask(frame(shape, box), box)
    assert mask.shape == (box.height, box.width)
    assert (mask & expected).sum() / (mask | expected).sum() >= 0.99
    assert mask[220, 250]
    assert mask[5, 5] == (shape == "rectangle")


def test_the_mask_leaves_the_guide_picture_out() -> None:
    box = Box(0, 0, 480, 640)
    mask = field_mask(frame("rectangle", box, guide=True), box)
    assert not mask[350:470, 4:164].any()
    assert mask[:340].mean() > 0.99


def test_a_void_mask_is_zero_in_the_field() -> None:
    void = np.full((6, 8), 255, np.uint8)
    void[1:4, 2:7] = 0
    void[1, 2] = 1
    assert field_of_view_of_void(void) == Box(1, 2, 4, 7)
    assert field_of_view_of_void(np.repeat(void[..., None], 3, axis=2)) == Box(1, 2, 4, 7)
    assert field_of_view_of_void(np.ones((6, 8), np.uint8)) is None
    mask = field_mask_of_void(void, Box(1, 2, 4, 7))
    assert mask.shape == (3, 5)
    assert mask.sum() == 14
    assert not mask[0, 0]
