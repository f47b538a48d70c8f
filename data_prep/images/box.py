"""A rectangle of pixels, half-open as Python's slices are."""

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right`, the last of each excluded."""

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

    @property
    def area(self) -> int:
        return max(self.height, 0) * max(self.width, 0)


def crop(image: np.ndarray, box: Box) -> np.ndarray:
    """The part of a picture or mask [height, width, ...] inside `box`, as an array of its own.

    Raises:
        ValueError: the box is empty, or reaches beyond the picture.
    """
    height, width = image.shape[:2]
    if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
        raise ValueError(f"{box} is no part of a picture {height} pixels high and {width} wide")
    return image[box.top : box.bottom, box.left : box.right].copy()


def bounding_box(mask: np.ndarray) -> Box | None:
    """The smallest box around the True pixels of bool [height, width]; None where there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def intersection_over_union(a: Box, b: Box) -> float:
    """How far two boxes agree: 1 the same, 0 disjoint (or both empty)."""
    common = Box(max(a.top, b.top), max(a.left, b.left), min(a.bottom, b.bottom), min(a.right, b.right)).area
    union = a.area + b.area - common
    return common / union if union else 0.0
