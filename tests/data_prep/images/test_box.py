"""Boxes: hand-worked sizes, crops that are copies, and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.images.box import Box, bounding_box, crop

SIDE = st.integers(0, 12)
BOXES = st.builds(lambda a, b, c, d: Box(min(a, b), min(c, d), max(a, b), max(c, d)), SIDE, SIDE, SIDE, SIDE)


def test_hand_worked() -> None:
    box = Box(1, 2, 4, 7)
    assert (box.height, box.width) == (3, 5)


@given(box=BOXES)
def test_a_bounding_box_is_the_box_that_was_drawn(box: Box) -> None:
    mask = np.zeros((12, 12), bool)
    mask[box.top : box.bottom, box.left : box.right] = True
    assert bounding_box(mask) == (box if mask.any() else None)


def test_a_crop_is_a_copy() -> None:
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    part = crop(image, Box(1, 2, 4, 6))
    np.testing.assert_array_equal(part, image[1:4, 2:6])
    part[:] = 0
    assert image[1, 2].any()
    assert part.flags.c_contiguous


@pytest.mark.parametrize("box", [Box(0, 0, 0, 3), Box(-1, 0, 2, 3), Box(0, 0, 6, 3), Box(0, 2, 3, 7)])
def test_a_box_beyond_the_picture_is_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="does not lie in a picture 5 pixels high and 6 wide"):
        crop(np.zeros((5, 6, 3), np.uint8), box)
