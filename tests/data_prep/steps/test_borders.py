"""The crop to the field of view: by the void mask if there is one, else as found in the picture."""

import numpy as np

from data_prep.config import Steps
from data_prep.images.box import Box
from data_prep.pipeline.sequence import look, stages
from data_prep.steps.step import Findings
from tests.data_prep.fields import frame, overlap

ON = Steps(borders=True)
FIELD = Box(20, 100, 460, 600)


def look_at(image, void=None, steps=ON):
    return look(image, Findings(Box(0, 0, *image.shape[:2]), void=void), steps)[0]


def test_a_void_mask_is_true_outside_the_field():
    image = np.full((6, 8, 3), 200, np.uint8)
    void = np.ones((6, 8), bool)
    void[1:4, 2:7] = False
    void[1, 2] = True
    found = look_at(image, void)
    assert found.border == "void"
    assert found.box == Box(1, 2, 4, 7)
    np.testing.assert_array_equal(found.view, ~void[1:4, 2:7])
    assert list(stages(image, found, ON, None))[-1][1].shape == (3, 5, 3)


def test_a_void_mask_without_field_leaves_the_whole_picture():
    found = look_at(np.full((6, 8, 3), 200, np.uint8), np.ones((6, 8), bool))
    assert found[:3] == (Box(0, 0, 6, 8), "nothing found", None)


def test_without_a_mask_the_field_is_found_in_the_picture():
    found = look_at(frame("octagon", FIELD))
    assert found.border == "picture"
    assert overlap(found.box, FIELD) >= 0.97
    assert look_at(np.zeros((60, 70, 3), np.uint8)).border == "nothing found"


def test_the_guide_picture_is_not_part_of_the_field():
    box = Box(0, 0, 480, 640)
    found = look_at(frame("rectangle", box, guide=True), steps=Steps(borders=True, overlays=True))
    assert found.view is not None
    assert not found.view[352:468, 6:162].any()
    assert found.view[:340].mean() > 0.99
