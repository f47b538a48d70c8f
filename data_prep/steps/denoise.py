"""Gaussian blur against the noise of the sensor and the blocks of JPEG."""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Interval

from data_prep.steps.step import Options, Phase, Step


@dataclass(frozen=True)
class Denoise(Options):
    denoise: bool = False
    """blur away noise"""
    # Our choice: the study names the blur but no width. In frames 500 pixels high it removes noise and the lines
    # between video fields, and keeps vessels and pits (3 pixels and wider).
    denoise_sigma: Annotated[float, Interval(ge=0.01, le=100)] = 1.0
    """standard deviation of that blur, in pixels"""


def denoise(image: np.ndarray, sigma: float = Denoise.denoise_sigma) -> np.ndarray:
    """A Gaussian blur; beyond its edges the picture is mirrored.

    Args:
        image: uint8 RGB [height, width, 3].
        sigma: standard deviation in pixels of the raw picture: the step comes before the resize.

    Returns:
        uint8 RGB of the same shape.
    """
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


STEP = Step(
    Denoise,
    title="denoise",
    phase=Phase.BEFORE_FIT,
    order=30,
    apply=lambda image, findings, options: denoise(image, options.denoise_sigma),
    line=lambda options, outcome: f"Gaussian blur, sigma {options.denoise_sigma:g}",
)
