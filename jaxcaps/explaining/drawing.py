"""Maps as colours over the picture."""

import matplotlib
import numpy as np

# Opacity of the highest value of a map.
OPACITY = 0.8


# Of the absolute values, those above this quantile share the full colour: single pixels of a gradient can be far above
# all others (Smilkov et al. 2017, section 3.1).
QUANTILE = 0.99


def as_bytes(image: np.ndarray) -> np.ndarray:
    """A picture with values in [0, 1] as uint8."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def full_colour(values: np.ndarray) -> float:
    """The value with full colour for maps on one scale."""
    return float(np.quantile(np.abs(values), QUANTILE))


def overlay(image: np.ndarray, values: np.ndarray, limit: float, *, signed: bool) -> np.ndarray:
    """A map over the grey picture: opaque where it is high, transparent where it is 0.

    Args:
        image: [height, width, channels] in [0, 1].
        values: [height, width].
        limit: the value with full colour.
        signed: red for positive and blue for negative values, instead of yellow for high and purple for low ones.

    Returns:
        uint8 [height, width, 3].
    """
    share = np.clip(values / limit, -1, 1) if limit > 0 else np.zeros_like(values)
    colours = matplotlib.colormaps["RdBu_r" if signed else "plasma"](
        share / 2 + 0.5 if signed else np.maximum(share, 0)
    )
    alpha = OPACITY * np.abs(share)[..., None]
    grey = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    return as_bytes((1 - alpha) * grey + alpha * colours[..., :3])
