"""Specular highlights, the mirror images of the light on wet mucosa, are removed by in-painting.

A highlight is small, bright in all three channels (it has the colour of the light, not of the tissue) and far brighter
than its surroundings. Large overexposed areas are left alone: nothing around them tells what they hide.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.images.channels import smallest_channel
from data_prep.images.inpaint import fill_in
from data_prep.steps.step import Options, Phase, Step

LARGEST_WIDTH = 0.065
"""Of the picture's shorter side: wider bright areas are left alone."""

BRIGHT = 170
"""Smallest channel of the core of a highlight, of 255."""

CONTRAST = 50
"""Of a core against the tissue around it, in the smallest channel."""

OVEREXPOSED = 140
"""Smallest channel of the tissue around: texture on an overexposed area is not a highlight."""

HALO = 0.006
"""Of the picture's shorter side. Sharpening draws a dark ring around highlights, which in-painting would spread."""

RIM_CONTRAST = 22
"""Of the blurred rim around a core."""


@dataclass(frozen=True)
class Highlights(Options):
    highlights: bool = False
    """fill in specular highlights from around them"""


def find_highlights(image: np.ndarray) -> np.ndarray:
    """The highlights with their rims.

    The thresholds were chosen by eye on 29 real frames. The smallest channel is used because mucosa absorbs blue and
    green: highlights stand out more there than in brightness.

    Args:
        image: uint8 RGB [height, width, 3].

    Returns:
        bool [height, width].
    """
    smallest = smallest_channel(image)
    kernel = _disc(2 * int(LARGEST_WIDTH * min(smallest.shape) / 2) + 1)
    # The opening is the picture without its bright spots; its edges count as bright, not as dark.
    ground = cv2.morphologyEx(smallest, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_REFLECT)
    contrast = smallest - ground
    core = (smallest >= BRIGHT) & (contrast >= CONTRAST) & (ground <= OVEREXPOSED)
    rim = contrast >= RIM_CONTRAST
    # A rim belongs to its core: spots of low contrast without a core are tissue.
    near = cv2.dilate(core.astype(np.uint8), _disc(7))
    found = core | (rim & (near > 0))
    halo = 2 * max(1, round(HALO * min(smallest.shape))) + 1
    return cv2.dilate(found.astype(np.uint8), _disc(halo)).astype(bool)


def _disc(width: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))


def remove_highlights(image: np.ndarray) -> np.ndarray:
    """Fills in the highlights from around them; a picture that is one highlight everywhere stays as it is.

    Args:
        image: uint8 RGB [height, width, 3].

    Returns:
        uint8 RGB of the same shape.
    """
    return fill_in(image, find_highlights(image))


STEP = Step(
    Highlights,
    title="specular highlights",
    phase=Phase.AFTER_FIT,
    order=30,
    apply=lambda image, findings, options: remove_highlights(image),
    line=lambda options, outcome: "filled in from around them",
)
