"""Boxes: hand-worked overlaps, crops that are copies, and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.images.box import Box, bounding_box, crop, intersection_over_union

SIDE = st.integers(0, 12)
BOXES = st.builds(lambda a, b, c, d: Box(min(a, b), min(c, d), max(a, b), max(c, d)), SIDE, SIDE, SIDE, SIDE)


def test_hand_worked() -> None:
    box = Box(1, 2, 4, 7)
    assert (box.height, box.width, box.area) == (3, 5, 15)
    # 2x2 pixels in common of 4 + 9 - 4.
    assert intersection_over_union(Box(0, 0, 2, 2), Box(0, 0, 3, 3)) == 4 / 9
    assert intersection_over_union(Box(0, 0, 2, 2), Box(2, 0, 4, 2)) == 0
    assert intersection_over_union(box, box) == 1


@given(a=BOXES, b=BOXES)
def test_overlap_is_that_of_the_sets_of_pixels(a: Box, b: Box) -> None:
    masks = np.zeros((2, 12, 12), bool)
    for mask, box in zip(masks, (a, b), strict=True):
        mask[box.top : box.bottom, box.left : box.right] = True
    union = (masks[0] | masks[1]).sum()
    expected = (masks[0] & masks[1]).sum() / union if union else 0
    assert intersection_over_union(a, b) == pytest.approx(expected)
    assert bounding_box(masks[0]) == (a if a.area else None)


def test_a_crop_is_a_copy() -> None:
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    part = crop(image, Box(1, 2, 4, 6))
    np.testing.assert_array_equal(part, image[1:4, 2:6])
    part[:] = 0
    assert image[1, 2].any()
    assert part.flags.c_contiguous


@pytest.mark.parametrize("box", [Box(0, 0, 0, 3), Box(-1, 0, 2, 3), Box(0, 0, 6, 3), Box(0, 2, 3, 7)])
def test_a_box_beyond_the_picture_is_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="no part of a picture 5 pixels high and 6 wide"):
        crop(np.zeros((5, 6, 3), np.uint8), box)
