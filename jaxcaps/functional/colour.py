"""Pictures as lightness and colour: CIE Lab and back, and its plane of colours cut into bins (Zhang et al. 2016).

Lab is that of scikit-image: sRGB with values in [0, 1], illuminant D65 and the 2 degree observer; L in [0, 100]. Of
sRGB's colours a lies in [-87, 99] and b in [-108, 95]. All is computed in at least float32.
"""

import functools
import itertools
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxcaps.functional.precision import at_least_float32

XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
RGB_FROM_XYZ = np.linalg.inv(XYZ_FROM_RGB)
# D65 for the observer of 2 degrees.
WHITE = np.array([0.95047, 1.0, 1.08883])
# Below these the curves of sRGB and of Lab are straight lines, so that their slopes at black are finite.
LINEAR_RGB, LINEAR_XYZ = 0.04045, 0.008856
SLOPE, OFFSET = 7.787, 16 / 116

# Distance between neighbouring bins, along a and along b.
GRID = 10
# Width of the soft assignment, and of the smoothing of frequencies (Zhang et al. 2016, section 2).
SIGMA = 5.0


def lab_from_rgb(image: Float[Array, "height width 3"]) -> Float[Array, "height width 3"]:
    """Lightness, a and b of a picture with values in [0, 1]. The gradient is finite at black and at white too."""
    return _lab(at_least_float32(image), jnp)


def rgb_from_lab(lab: Float[Array, "height width 3"]) -> Float[Array, "height width 3"]:
    """The picture of a Lab one, clipped to [0, 1]: a colour that no screen can show loses the gradient there."""
    wide = at_least_float32(lab)
    y = (wide[..., 0] + 16) / 116
    # A blue too strong for its lightness would need less than no light: none, as scikit-image has it.
    curved = jnp.stack([y + wide[..., 1] / 500, y, jnp.maximum(y - wide[..., 2] / 200, 0)], axis=-1)
    bent = curved > LINEAR_XYZ ** (1 / 3)
    xyz = jnp.where(bent, curved**3, (curved - OFFSET) / SLOPE) * jnp.asarray(WHITE, wide.dtype)[None, None]
    linear = _mixed(xyz, RGB_FROM_XYZ, jnp)
    straight = LINEAR_RGB / 12.92
    bent = linear > straight
    # Clipped before the power as well: a branch that is not taken must not bring NaN into the gradient.
    power = 1.055 * jnp.where(bent, linear, 1) ** (1 / 2.4) - 0.055
    return jnp.clip(jnp.where(bent, power, 12.92 * linear), 0, 1)


def _lab(rgb: Any, xp: ModuleType) -> Any:
    """Of `jnp` arrays or, for the bins, of NumPy's."""
    bent = rgb > LINEAR_RGB
    linear = xp.where(bent, ((xp.where(bent, rgb, 1) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mixed(linear, XYZ_FROM_RGB / WHITE[:, None], xp)
    bent = xyz > LINEAR_XYZ
    curved = xp.where(bent, xp.cbrt(xp.where(bent, xyz, 1)), SLOPE * xyz + OFFSET)
    x, y, z = curved[..., 0], curved[..., 1], curved[..., 2]
    return xp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _mixed(pixels: Any, matrix: np.ndarray, xp: ModuleType) -> Any:
    """The matrix applied to each pixel. Sums and no matrix product, which an accelerator may round to bfloat16."""
    channels = [sum(float(weight) * pixels[..., i] for i, weight in enumerate(row)) for row in matrix]
    return xp.stack(channels, axis=-1)


class Bins(NamedTuple):
    """The bins of the plane of colours.

    Attributes:
        centres: a and b of each bin, multiples of `GRID`; float64 [bins, 2].
        table: the bin of each place of the grid from `low` on, the nearest one where no colour of sRGB falls.
        low: a and b of the table's first place, over `GRID`.
    """

    centres: np.ndarray
    table: np.ndarray
    low: np.ndarray


@functools.cache
def ab_bins() -> Bins:
    """The 262 bins that some colour of sRGB falls into when its a and b are rounded to the grid.

    The colours of one a and b differ in lightness alone, and run from one face of the RGB cube to another: its surface
    shows them all. A lattice on the faces finds the bins; a finer one on the six edges that have colour, the outline in
    the plane, finds the slivers. (One bin, at a = 20 and b = -80, is so small a sliver, 0.3 by 0.2, that no colour of 8
    bits a channel lies in it: those fill 261.)
    """
    across, down = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 64))
    faces = []
    for end in (0.0, 1.0):
        face = np.stack([np.full_like(across, end), across, down], axis=-1).reshape(-1, 3)
        faces += [np.roll(face, turn, axis=1) for turn in range(3)]
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], np.float64)
    steps = np.linspace(0, 1, 2000)[:, None]
    edges = [start + steps * (end - start) for start, end in itertools.pairwise(corners)]
    ab = _lab(np.concatenate(faces + edges), np)[:, 1:]
    places = np.unique(np.round(ab / GRID).astype(np.int64), axis=0)
    # A border of one, so that every colour has eight neighbours in the table.
    low, high = places.min(axis=0) - 1, places.max(axis=0) + 1
    grid = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    table = np.argmin(np.sum(np.square(grid[:, :, None] - places), axis=-1), axis=-1)
    return Bins((places * GRID).astype(np.float64), table, low)


def nearest_bin(ab: Float[Array, "height width 2"]) -> Int[Array, "height width"]:
    """The number of the bin that each colour is rounded to."""
    bins = ab_bins()
    last = np.array(bins.table.shape) - 1
    places = jnp.round(at_least_float32(ab) / GRID).astype(jnp.int32) - jnp.asarray(bins.low, jnp.int32)[None, None]
    rows, columns = (jnp.clip(places[..., axis], 0, int(last[axis])) for axis in (0, 1))
    return jnp.asarray(bins.table, jnp.int32)[rows, columns]


def soft_bins(ab: Float[Array, "height width 2"]) -> Float[Array, "height width bins"]:
    """Each colour shared out among the bins about it, by a Gaussian of `SIGMA` over their distance; sums to 1.

    They are the bin it is rounded to and those of its eight neighbours on the grid that some colour of sRGB has. Zhang
    et al. 2016 take the five nearest bins, which wherever all eight exist are among these; what the others get besides
    is a hundredth at most. No sorting is needed.

    Args:
        ab: colours of sRGB. Of another one the share may be 0 everywhere.
    """
    wide = at_least_float32(ab)
    centres = jnp.asarray(ab_bins().centres, wide.dtype)

    def along(axis: int) -> tuple[Bool[Array, "height width bins"], Float[Array, "height width bins"]]:
        value, centre = wide[..., axis, None], centres[None, None, :, axis]
        # Half a step of the grid beyond one step: the neighbours of the bin it is rounded to.
        return jnp.abs(jnp.round(value / GRID) * GRID - centre) < 1.5 * GRID, jnp.square(value - centre)

    (near_a, squared_a), (near_b, squared_b) = along(0), along(1)
    # One exponential of the sum, and not a product of two: they are most of the work.
    weights = jnp.where(near_a & near_b, jnp.exp(-(squared_a + squared_b) / (2 * SIGMA**2)), 0)
    return weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), jnp.finfo(wide.dtype).tiny)


def bin_weights(counts: np.ndarray, *, uniform_share: float = 0.5) -> np.ndarray:
    """How much a pixel of each bin counts, so that rare colours are learnt too (Zhang et al. 2016, equation 4).

    The frequencies p are smoothed by a Gaussian of `SIGMA` over the plane, mixed with the uniform distribution and
    inverted: w is proportional to 1 / ((1 - uniform_share) p + uniform_share / bins), and its mean over p is 1.

    Args:
        counts: pixels of each bin in the training pictures, [bins]; at least one.
        uniform_share: share of the uniform distribution, in (0, 1]; 1 weighs all pixels alike.

    Returns:
        float64 [bins].
    """
    centres = ab_bins().centres
    squares = np.sum(np.square(centres[:, None] - centres[None]), axis=-1)
    spread = np.exp(-squares / (2 * SIGMA**2))
    # A bin gives away all that it has, at the border of the plane too.
    spread /= spread.sum(axis=0, keepdims=True)
    frequencies = spread @ (counts / counts.sum())
    weights = 1 / ((1 - uniform_share) * frequencies + uniform_share / len(counts))
    normalised: np.ndarray = weights / np.sum(frequencies * weights)
    return normalised


def rebalanced_cross_entropy(
    logits: Float[Array, "height width bins"], ab: Float[Array, "height width 2"], weights: Float[Array, "bins"]
) -> Float[Array, ""]:
    """Cross-entropy of the bins against `soft_bins`, each pixel weighed by its nearest bin (Zhang et al. 2016, eq. 2).

    Args:
        logits: of the bins.
        ab: the true colours.
        weights: of the bins; see `bin_weights`.

    Returns:
        The mean over the pixels.
    """
    wide = at_least_float32(logits)
    entropy = jax.nn.logsumexp(wide, axis=-1) - jnp.sum(soft_bins(ab).astype(wide.dtype) * wide, axis=-1)
    return jnp.mean(weights.astype(wide.dtype)[nearest_bin(ab)] * entropy)


def annealed_mean(
    logits: Float[Array, "height width bins"], *, temperature: float = 0.38
) -> Float[Array, "height width 2"]:
    """One colour a pixel: the mean of the bins under softmax(logits / temperature) (Zhang et al. 2016, equation 5).

    Between the mean (temperature 1), which greys, and the mode (towards 0), which speckles.
    """
    wide = at_least_float32(logits)
    probabilities = jax.nn.softmax(wide / temperature, axis=-1)
    centres = ab_bins().centres
    # A product with two columns, in full precision on an accelerator too.
    return jnp.matmul(probabilities, jnp.asarray(centres, wide.dtype), precision=jax.lax.Precision.HIGHEST)


def chroma(ab: Float[Array, "height width 2"]) -> Float[Array, "height width"]:
    """How colourful each pixel is: the distance from grey in the plane of colours. For measuring, not for learning.

    (At grey itself its gradient is not finite.)
    """
    wide = at_least_float32(ab)
    return jnp.sqrt(jnp.sum(jnp.square(wide), axis=-1))
