"""Resize to the size that training reads, without distortion."""

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from annotated_types import Interval

from data_prep.steps.step import Options, Phase, Step

Fit = Literal["pad", "crop", "shorter"]


@dataclass(frozen=True)
class Resize(Options):
    resize: bool = False
    """bring all pictures to one size"""
    size: Annotated[int, Interval(ge=8, le=8192)] = 224
    """side in pixels of the square that pictures are resized to; with --fit=shorter, of their shorter side"""
    fit: Fit = "pad"
    """pad: the whole picture between black bars; crop: the central square; shorter: the whole picture, not a square"""


def resize(image: np.ndarray, size: int, fit: Fit) -> np.ndarray:
    """Resizes a picture and keeps its aspect ratio: by area where it shrinks, by cubic interpolation where it grows.

    Args:
        image: uint8 RGB [height, width, 3].
        size: side of the square; with "shorter", the shorter side. At least 1.
        fit: "pad": the whole picture, centred on a black square; "crop": the central square; "shorter": the whole
            picture.

    Returns:
        uint8 RGB [size, size, 3] for "pad" and "crop", [height', width', 3] for "shorter".
    """
    height, width = image.shape[:2]
    if fit == "pad":
        scaled = _to(image, *_scaled(height, width, size / max(height, width)))
        canvas = np.zeros((size, size, 3), np.uint8)
        top, left = (size - scaled.shape[0]) // 2, (size - scaled.shape[1]) // 2
        canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
        return canvas
    if fit == "crop":
        # Cropped first: a strip 20,000 pixels long is never enlarged as a whole.
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _to(image[top : top + side, left : left + side], size, size)
    return _to(image, *_scaled(height, width, size / min(height, width)))


def _scaled(height: int, width: int, factor: float) -> tuple[int, int]:
    return max(1, round(height * factor)), max(1, round(width * factor))


def _to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image.copy()
    shrinks = height < image.shape[0] or width < image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)


STEP = Step(
    Resize,
    title="resize",
    phase=Phase.AFTER_FIT,
    order=40,
    apply=lambda image, findings, options: resize(image, options.size, options.fit),
    changes_size=True,
    line=lambda options, outcome: f"{options.size} pixels, {options.fit}",
)
