"""The field of view: which part of a frame shows the scene, and which is the black border of the endoscope.

Fields are octagons, circles or rectangles, often cut by the edge of the frame, beside text and a guide picture. All
are convex and far larger than a letter. So the field is the largest bright area that is left after removing the guide
picture and opening away everything as thin as letters. Its convex hull restores the dark parts of the scene.
"""

import cv2
import numpy as np

from data_prep.detection.guide import find_guide
from data_prep.images.channels import largest_channel

ABOVE_BORDER = 6
"""How far above the border the scene begins, of 255. On the 29 real frames borders have levels of 0-5 with noise up to
8; the dimmest parts of the field have 10."""

BRIGHTEST_BORDER = 32
"""Video black is 16 in some recordings. A frame whose darkest edge is brighter has no border."""

BORDER_SHARE = 0.05
"""Of the outermost pixels of the frame. Fewer dark ones are not a border but a dark part of the scene."""

LETTER = 0.03
"""Of the shorter side of the frame: wider than the strokes of letters and the cells of a text cursor."""

SMALLEST_FIELD = 0.05
"""Of the area of the frame."""


def field_of_view_mask(image: np.ndarray) -> np.ndarray | None:
    """The field of view, filled to its convex outline.

    Args:
        image: uint8 RGB [height, width, 3].

    Returns:
        bool [height, width], True everywhere if the scene fills the picture. None if there is no scene: the frame is
        almost black, or nothing brighter than the border is as large as a field.
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
    # The field continues beyond the edge of the frame: opening must not remove anything there.
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
    """Where the picture is brighter than the border by more than its noise: 0 or 1, uint8 [height, width]."""
    brightest = cv2.medianBlur(largest_channel(image), 5)
    rim = np.concatenate([brightest[0], brightest[-1], brightest[:, 0], brightest[:, -1]])
    border = min(float(np.quantile(rim, BORDER_SHARE)), BRIGHTEST_BORDER)
    return (brightest > border + ABOVE_BORDER).astype(np.uint8)
