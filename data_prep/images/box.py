"""A rectangle of pixels, half-open like the slices of Python."""

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right`, without the last of each."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


def crop(image: np.ndarray, box: Box) -> np.ndarray:
    """A copy of the part of a picture or mask [height, width, ...] inside `box`.

    Raises:
        ValueError: the box is empty, or reaches outside the picture.
    """
    height, width = image.shape[:2]
    if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
        raise ValueError(f"{box} does not lie in a picture {height} pixels high and {width} wide")
    return image[box.top : box.bottom, box.left : box.right].copy()


def bounding_box(mask: np.ndarray) -> Box | None:
    """The smallest box around the True pixels of bool [height, width], or None if there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
