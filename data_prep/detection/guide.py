"""The guide picture: a box of one bright green or blue in which some endoscopes draw their own position."""

import cv2
import numpy as np

from data_prep.images.box import Box, bounding_box
from data_prep.images.channels import largest_channel

HUES = (55, 130)
"""Green to blue, in the half degrees of OpenCV. No tissue is so bright and so pure in these hues."""

LEAST_SATURATION = 110
LEAST_VALUE = 90

TOLERANCE = 28
"""From the colour of the box, in each channel: the box is flat, while tissue is shaded under any light."""

LEAST_AREA = 0.005
"""Of the picture."""

LEAST_FILLED = 0.8
"""Of the box, the part that has the colour or is surrounded by it."""

BLACK = 32
"""Largest value of the black frame of the box."""

LARGEST_FRAME = 0.05
"""Of the picture's shorter side."""

MOST_BLURRED = 4
"""Blurred lines between the coloured box and its black frame."""

EDGE = 2
"""Blurred lines between the box or its frame and the scene."""


def find_guide(image: np.ndarray) -> Box | None:
    """The guide picture with its black frame, or None.

    Args:
        image: uint8 RGB [height, width, 3].
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    vivid = (hue >= HUES[0]) & (hue <= HUES[1]) & (saturation >= LEAST_SATURATION) & (value >= LEAST_VALUE)
    least_pixels = LEAST_AREA * vivid.size
    if np.count_nonzero(vivid) < least_pixels:
        return None
    colour = np.median(image[vivid], axis=0)
    same = vivid & (cv2.inRange(image, colour - TOLERANCE, colour + TOLERANCE) > 0)
    count, labels, numbers, _ = cv2.connectedComponentsWithStats(same.astype(np.uint8))
    largest = 1 + int(np.argmax(numbers[1:, cv2.CC_STAT_AREA])) if count > 1 else 0
    if not largest or numbers[largest, cv2.CC_STAT_AREA] < least_pixels:
        return None
    # Drawings inside the box are filled in.
    outlines, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(hue), outlines, -1, 1, cv2.FILLED)
    box = bounding_box(filled > 0)
    assert box is not None
    if np.count_nonzero(filled) < LEAST_FILLED * (box.height * box.width):
        return None
    return _with_black_frame(largest_channel(image), box)


def _with_black_frame(brightest: np.ndarray, box: Box) -> Box:
    """`box` extended by the black lines around it, and by the blurred lines before and after them."""
    height, width = brightest.shape
    most = max(EDGE, round(LARGEST_FRAME * min(height, width)))
    top, left, bottom, right = box
    above = _black_lines(brightest[max(top - most, 0) : top, left:right][::-1])
    bottom += _black_lines(brightest[bottom : bottom + most, left:right])
    top -= above
    before = _black_lines(brightest[top:bottom, max(left - most, 0) : left][:, ::-1].T)
    right += _black_lines(brightest[top:bottom, right : right + most].T)
    return Box(top, left - before, bottom, right)


def _black_lines(lines: np.ndarray) -> int:
    """How many of the first lines of [lines, pixels] belong to the frame or to the blur before and after it."""
    black = np.append((lines < BLACK).mean(axis=1) >= 0.9, False)
    start = int(np.argmax(black))
    if not black[start] or start > MOST_BLURRED:
        return min(EDGE, len(lines))
    return min(start + int(np.argmin(black[start:])) + EDGE, len(lines))
