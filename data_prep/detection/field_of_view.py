"""The field of view: where in a frame the scene is, and where the black border of the endoscope.

Fields are octagons, circles or rectangles, often cut by the frame's edge, beside text and a coloured guide picture.
All are convex and far larger than a letter. So the field is the largest bright area that is left when the guide is
taken out and everything as thin as letters is opened away; its convex hull brings back what is dark in the scene.
"""

import cv2
import numpy as np

from data_prep.detection.guide import find_guide
from data_prep.images.box import Box, bounding_box
from data_prep.images.channels import largest_channel

ABOVE_BORDER = 6
"""How far above the border the scene begins, of 255. On the 29 real frames borders have levels of 0-5 with noise up to
8, and the dimmest parts of the field 10."""

BRIGHTEST_BORDER = 32
"""Video black is 16 in some recordings. A frame whose darkest edge is brighter has no border."""

BORDER_SHARE = 0.05
"""Of the frame's outermost pixels: fewer are no border but a dark part of the scene."""

LETTER = 0.03
"""Of the frame's shorter side: wider than the strokes of letters and the cells of a text cursor."""

SMALLEST_FIELD = 0.05
"""Of the frame's area."""


def find_field_of_view(image: np.ndarray) -> Box | None:
    """The smallest box that holds the scene.

    Args:
        image: uint8 RGB [height, width, 3].

    Returns:
        The box: the whole picture's where the scene fills it. None where there is no scene: an almost black frame, or
        nothing brighter than the border that is as large as a field.
    """
    field = field_of_view_mask(image)
    return None if field is None else bounding_box(field)


def field_of_view_of_void(void: np.ndarray) -> Box | None:
    """The smallest box around the zeros of PICCOLO's void mask; None where it has none.

    Args:
        void: [height, width] or [height, width, channels], 0 in the field of view (in all channels).
    """
    return bounding_box(_zeros(void))


def field_mask_of_void(void: np.ndarray, box: Box) -> np.ndarray:
    """The field of view within `box` by PICCOLO's void mask: bool [box.height, box.width]."""
    return _zeros(void)[box.top : box.bottom, box.left : box.right].copy()


def field_mask(image: np.ndarray, box: Box) -> np.ndarray:
    """The pixels of the scene within its box: False in the corners that an octagon or circle leaves dark, and under a
    guide picture. They are those that histograms and CLAHE should count.

    Args:
        image: the whole frame as it comes, uint8 RGB [height, width, 3], not the crop.
        box: the part of it that is kept.

    Returns:
        bool [box.height, box.width]; True everywhere where no field is found in the frame.
    """
    field = field_of_view_mask(image)
    if field is None:
        return np.ones((box.height, box.width), bool)
    guide = find_guide(image)
    if guide is not None:
        field[guide.top : guide.bottom, guide.left : guide.right] = False
    return field[box.top : box.bottom, box.left : box.right].copy()


def field_of_view_mask(image: np.ndarray) -> np.ndarray | None:
    """The field of view with its outline, convex: bool [height, width], or None where there is no scene.

    Args:
        image: uint8 RGB [height, width, 3].
    """
    bright = _brighter_than_border(image)
    guide = find_guide(image)
    if guide is not None:
        bright[guide.top : guide.bottom, guide.left : guide.right] = 0
    height, width = bright.shape
    # Dark patches within the scene are filled: opened with holes in it, a field would fall into pieces.
    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(bright, outlines, -1, 1, cv2.FILLED)
    side = max(1, round(LETTER * min(height, width)))
    # Beyond the frame's edge the field goes on: there, opening shall take nothing away.
    opened = cv2.morphologyEx(
        cv2.copyMakeBorder(bright, side, side, side, side, cv2.BORDER_REPLICATE),
        cv2.MORPH_OPEN,
        cv2.getStructuringElement(cv2.MORPH_RECT, (side, side)),
    )[side : side + height, side : side + width]
    count, labels, numbers, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(opened))
    if count < 2:
        return None
    largest = 1 + int(np.argmax(numbers[1:, cv2.CC_STAT_AREA]))
    if numbers[largest, cv2.CC_STAT_AREA] < SMALLEST_FIELD * bright.size:
        return None
    outlines, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(outlines[0]), 1)
    return hull.astype(bool)


def _brighter_than_border(image: np.ndarray) -> np.ndarray:
    """0 or 1, uint8 [height, width]: what is brighter than the border by more than its noise."""
    brightest = cv2.medianBlur(largest_channel(image), 5)
    rim = np.concatenate([brightest[0], brightest[-1], brightest[:, 0], brightest[:, -1]])
    border = min(float(np.quantile(rim, BORDER_SHARE)), BRIGHTEST_BORDER)
    return (brightest > border + ABOVE_BORDER).astype(np.uint8)


def _zeros(void: np.ndarray) -> np.ndarray:
    return (void == 0) if void.ndim == 2 else (void == 0).all(axis=2)
