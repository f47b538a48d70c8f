"""Specular highlights: the light's mirror images on wet mucosa, removed by in-painting.

A highlight is small, bright in all three channels (it has the colour of the light, not of the tissue) and far brighter
than its surroundings. Large overexposed areas are no highlights: nothing around could tell what they hide.
"""

import cv2
import numpy as np

from data_prep.images.channels import smallest_channel
from data_prep.images.inpaint import fill_in

LARGEST_WIDTH = 0.065
"""Of the picture's shorter side: wider bright areas are left alone."""

BRIGHT = 170
"""Smallest channel of a highlight's core, of 255."""

CONTRAST = 50
"""Of a core over the tissue around it, in its smallest channel."""

OVEREXPOSED = 140
"""Smallest channel of the tissue around: texture on an overexposed area is no highlight."""

HALO = 0.006
"""Of the picture's shorter side. Sharpening draws a dark ring around highlights, which in-painting would spread."""

RIM_CONTRAST = 22
"""Of the blurred rim around a core."""


def find_highlights(image: np.ndarray) -> np.ndarray:
    """The highlights with their rims.

    The thresholds were chosen by looking at 29 real frames, as they come: CLAHE raises the texture of light tissue to
    the contrast of small highlights. So find them before it, whenever they are removed. The smallest channel is used
    because mucosa absorbs blue and green: there highlights stand out more than in brightness.

    Args:
        image: uint8 RGB [height, width, 3].

    Returns:
        bool [height, width].
    """
    smallest = smallest_channel(image)
    width = _odd(LARGEST_WIDTH * min(smallest.shape))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    # The opening is the picture without its bright spots; its edges count as bright, not as dark.
    ground = cv2.morphologyEx(smallest, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_REFLECT)
    contrast = smallest - ground
    core = (smallest >= BRIGHT) & (contrast >= CONTRAST) & (ground <= OVEREXPOSED)
    rim = contrast >= RIM_CONTRAST
    # A rim belongs to its core: spots of low contrast that hold no core are tissue.
    near = cv2.dilate(core.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    found = core | (rim & (near > 0))
    halo = 2 * max(1, round(HALO * min(smallest.shape))) + 1
    return cv2.dilate(found.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (halo, halo))).astype(bool)


def remove_highlights(image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Fills the highlights in from around them.

    Args:
        image: uint8 RGB [height, width, 3].
        mask: bool [height, width]; by default what `find_highlights` finds.

    Returns:
        uint8 RGB of the same shape. A picture that is highlight everywhere stays as it is.
    """
    mask = find_highlights(image) if mask is None else mask
    return fill_in(image, mask)


def _odd(size: float) -> int:
    return 2 * int(size / 2) + 1
