"""Grey-world white balance (Buchsbaum 1980): the average of a scene is assumed to be grey."""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Interval

from data_prep.bounds import Share
from data_prep.steps.step import Options, Phase, Step


@dataclass(frozen=True)
class GreyWorld(Options):
    grey_world: bool = False
    """balance white: scale each channel so that the means within the field of view agree"""
    grey_world_strength: Share = 1.0
    """how far the means are brought together: 0 not at all, 1 fully"""
    grey_world_limit: Annotated[float, Interval(ge=1, le=8)] = 2.0
    """the largest factor, and one over the smallest, by which a channel is scaled"""


def balance(
    image: np.ndarray,
    strength: float = GreyWorld.grey_world_strength,
    limit: float = GreyWorld.grey_world_limit,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Scales each channel towards the mean of all channels.

    The gain of channel c is (mean / mean_c) ** strength, with the ratio between 1 / limit and limit.

    Args:
        image: uint8 RGB [height, width, 3].
        strength: in [0, 1].
        limit: at least 1.
        mask: bool [height, width], the pixels that are counted and changed; the others keep their values.

    Returns:
        uint8 RGB of the same shape. A grey picture stays as it is.
    """
    pixels = image.reshape(-1, 3) if mask is None else image[mask]
    # A black channel has no colour to correct; the lower bound only avoids 0 / 0.
    means = np.maximum(pixels.mean(axis=0), 1e-9) if len(pixels) else np.ones(3)
    gains = np.clip(means.mean() / means, 1 / limit, limit) ** strength
    table = np.rint(np.arange(256)[:, None] * gains).clip(0, 255).astype(np.uint8)
    balanced = cv2.LUT(image, table[None])
    return balanced if mask is None else np.where(mask[..., None], balanced, image)


STEP = Step(
    GreyWorld,
    title="grey-world white balance",
    # After the modality was guessed from the colour.
    phase=Phase.BEFORE_FIT,
    order=50,
    apply=lambda image, findings, options: balance(
        image, options.grey_world_strength, options.grey_world_limit, findings.view
    ),
    keeps_outside=True,
    line=lambda options, outcome: (
        f"strength {options.grey_world_strength:g}, gains within {options.grey_world_limit:g}"
    ),
)
