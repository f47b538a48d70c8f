"""Contrast-limited adaptive histogram equalisation (Zuiderveld 1994) of the lightness, by OpenCV.

The a and b of Lab stay as they are. docs/explanation/preparation.md says how OpenCV differs from scikit-image.
"""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Interval

from data_prep.images.channels import largest_channel, smallest_channel
from data_prep.images.mirror import mirror_outwards
from data_prep.steps.step import Options, Phase, Step


@dataclass(frozen=True)
class Clahe(Options):
    clahe: bool = False
    """equalise contrast locally (CLAHE on the lightness of Lab)"""
    clip_limit: Annotated[float, Interval(ge=0.01, le=1000)] = 2.0
    """how far CLAHE may raise contrast: the largest bin of a tile's histogram, in units of the mean bin"""
    tiles: Annotated[int, Interval(ge=1, le=256)] = 8
    """tiles of CLAHE along each side"""


def equalise(
    image: np.ndarray, clip_limit: float = Clahe.clip_limit, tiles: int = Clahe.tiles, mask: np.ndarray | None = None
) -> np.ndarray:
    """Equalises L of Lab tile by tile and interpolates the mapping between tiles.

    Args:
        image: uint8 RGB [height, width, 3].
        clip_limit: the largest bin of a tile's histogram, in units of the mean bin; above 0.
        tiles: tiles along each side, at least 1; fewer where a side has fewer pixels.
        mask: bool [height, width], the field of view. Pixels outside keep their values and are not counted: the dark
            corners of an octagon would fill the histograms of their tiles and turn into noisy grey.

    Returns:
        uint8 RGB of the same shape. A grey picture stays grey.
    """
    height, width = image.shape[:2]
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lightness = lab[..., 0] if mask is None else mirror_outwards(lab[..., 0], mask)
    clahe = cv2.createCLAHE(clip_limit, (min(tiles, width), min(tiles, height)))
    lab[..., 0] = clahe.apply(np.ascontiguousarray(lightness))
    equalised = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    # OpenCV's way back from 8-bit Lab tints a grey pixel by one level.
    grey = smallest_channel(image) == largest_channel(image)
    equalised = np.where(grey[..., None], equalised[..., 1:2], equalised)
    return equalised if mask is None else np.where(mask[..., None], equalised, image)


STEP = Step(
    Clahe,
    title="CLAHE",
    phase=Phase.AFTER_FIT,
    order=20,
    apply=lambda image, findings, options: equalise(image, options.clip_limit, options.tiles, findings.view),
    keeps_outside=True,
    line=lambda options, outcome: f"clip limit {options.clip_limit:g}, {options.tiles}x{options.tiles} tiles",
)
