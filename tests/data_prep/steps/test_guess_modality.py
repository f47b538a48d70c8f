"""The guess of the light: drawn frames, synthetic tints, pictures without colour."""

import numpy as np
import pytest

from data_prep.images.box import Box
from data_prep.steps.guess_modality import guess_modality
from data_prep.synthetic import draw
from tests.data_prep.fields import frame


def test_the_drawn_modalities_are_told_apart() -> None:
    names = {"white-light": "WL", "narrow-band": "NBI"}
    for index in range(0, 60, 2):
        drawn = draw(index, count=60, seed=0, size=64)
        modality, confidence = guess_modality(drawn.image)
        assert modality == names[drawn.modality]
        assert confidence > 0.7


def test_a_tint_turns_the_guess() -> None:
    image = frame("octagon", Box(0, 0, 480, 640))
    modality, sure = guess_modality(image)
    assert modality == "WL"
    tinted = (image * np.array([0.5, 0.95, 0.9])).astype(np.uint8)
    assert guess_modality(tinted)[0] == "NBI"
    between = (image * np.array([0.72, 1.0, 1.0])).astype(np.uint8)
    assert guess_modality(between)[1] < sure, "the confidence falls towards the boundary"


@pytest.mark.parametrize("value", [0, 120, 255])
def test_without_colour_there_is_no_confidence(value: int) -> None:
    assert guess_modality(np.full((30, 30, 3), value, np.uint8)) == ("WL", 0.5)
