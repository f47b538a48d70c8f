"""Contrast-limited adaptive histogram equalisation (Zuiderveld 1994) of the lightness, by OpenCV.

Colours keep their a and b of Lab. OpenCV differs from scikit-image's `equalize_adapthist` by design:

- The clip limit is a multiple of a uniform histogram's bin (2.0: no bin above twice the mean); scikit-image's is a
  share of the tile's pixels (the same limit is 2.0 / 256 there).
- What is cut off is spread over all bins once; scikit-image spreads it again and again until nothing is left over.
- There are 256 bins of 8-bit lightness; scikit-image rescales the picture's own range and has a bin for each 14-bit
  grey, and for a colour picture works on V of HSV, not on L of Lab.
- Pictures that the tiles do not divide are continued by mirroring; so are scikit-image's, by other rules.
"""

import cv2
import numpy as np

from data_prep.images.channels import largest_channel, smallest_channel
from data_prep.images.mirror import mirror_outwards

CLIP_LIMIT = 2.0
TILES = 8


def equalise(
    image: np.ndarray, clip_limit: float = CLIP_LIMIT, tiles: int = TILES, mask: np.ndarray | None = None
) -> np.ndarray:
    """Equalises L of Lab, tile by tile, with the mapping interpolated between tiles.

    Args:
        image: uint8 RGB [height, width, 3].
        clip_limit: the most that a bin of a tile's histogram may hold, in units of the mean bin; above 0.
        tiles: tiles along each side, at least 1; fewer where a side has fewer pixels.
        mask: bool [height, width], the field of view. Pixels outside stay as they are and are not counted: the dark
            corners of an octagon would fill the histograms of their tiles, and rise to a noisy grey themselves.

    Returns:
        uint8 RGB of the same shape. A grey picture stays grey.

    Raises:
        ValueError: `clip_limit` or `tiles` is out of range.
    """
    if not 0 < clip_limit < np.inf:
        raise ValueError(f"clip_limit is {clip_limit}, expected a number above 0")
    if tiles < 1:
        raise ValueError(f"tiles is {tiles}, expected at least 1")
    height, width = image.shape[:2]
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lightness = lab[..., 0] if mask is None else mirror_outwards(lab[..., 0], mask)
    clahe = cv2.createCLAHE(clip_limit, (min(tiles, width), min(tiles, height)))
    lab[..., 0] = clahe.apply(np.ascontiguousarray(lightness))
    equalised = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    # OpenCV's way back from 8-bit Lab gives a grey pixel a tint of one.
    grey = smallest_channel(image) == largest_channel(image)
    equalised = np.where(grey[..., None], equalised[..., 1:2], equalised)
    return equalised if mask is None else np.where(mask[..., None], equalised, image)
