"""Drawn frames whose field of view is known: octagons, circles and rectangles on black, with text and a guide."""

import cv2
import numpy as np

from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.images.box import Box, bounding_box

GREEN = (24, 165, 140)


def found_box(image: np.ndarray) -> Box | None:
    """The box of the field of view that is found."""
    mask = field_of_view_mask(image)
    return None if mask is None else bounding_box(mask)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes that are not empty."""
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    width = min(a.right, b.right) - max(a.left, b.left)
    common = max(height, 0) * max(width, 0)
    return common / (a.height * a.width + b.height * b.width - common)


def tissue(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Mucosa-like noise: reddish, shaded, uint8 [height, width, 3]."""
    coarse = rng.uniform(0.55, 1.0, (6, 6)).astype(np.float32)
    shade = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    noise = rng.normal(0, 3, (height, width, 1))
    return np.clip(shade * np.array([190.0, 105.0, 85.0]) + noise, 30, 255).astype(np.uint8)


def outline(shape: str, box: Box) -> np.ndarray:
    """The polygon of a field that fills its box, int32 [points, 2] as x, y."""
    top, left, bottom, right = box.top, box.left, box.bottom - 1, box.right - 1
    if shape == "rectangle":
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)
    if shape == "octagon":
        cut = min(box.height, box.width) // 5
        corners = [(left + cut, top), (right - cut, top), (right, top + cut), (right, bottom - cut)]
        corners += [(right - cut, bottom), (left + cut, bottom), (left, bottom - cut), (left, top + cut)]
        return np.array(corners, np.int32)
    angles = np.linspace(0, 2 * np.pi, 721)
    x = (left + right) / 2 + (right - left) / 2 * np.cos(angles)
    y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(angles)
    return np.round(np.stack([x, y], axis=1)).astype(np.int32)


def frame(
    shape: str,
    box: Box,
    *,
    height: int = 480,
    width: int = 640,
    border: int = 0,
    seed: int = 0,
    text: bool = False,
    guide: bool = False,
) -> np.ndarray:
    """A frame with a field in `box`: uint8 RGB [height, width, 3]."""
    rng = np.random.default_rng(seed)
    scene = tissue(rng, height, width)
    field = cv2.fillPoly(np.zeros((height, width), np.uint8), [outline(shape, box)], 1)
    black = np.clip(border + rng.normal(0, 1, (height, width, 1)), 0, 255).astype(np.uint8)
    image = np.where(field[..., None] > 0, scene, black).astype(np.uint8)
    if guide:
        image[height - 130 : height - 10, 4:164] = GREEN
    if text:
        for row, line in enumerate(TEXT):
            cv2.putText(image, line, (6, 40 + 22 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (240, 240, 240), 1, cv2.LINE_AA)
    return image


TEXT = ("NAME OLE", "12/09/2026", "10:34:52", "CVP:36:11", "ID 4711")
TEXT_BOXES = tuple(
    Box(40 + 22 * row - 11, 6, 40 + 22 * row, 6 + cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] - 3)
    for row, line in enumerate(TEXT)
)
