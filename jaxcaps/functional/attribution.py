"""Where in a picture a score comes from: couplings, gradients, occlusion; and deletion and insertion to compare them.

Scores and gradients are functions of a batch of pictures, as networks are. They are called from Python, so a function
that `jax.jit` has compiled is compiled once for all maps of all pictures.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing.base import agreement
from jaxcaps.functional.squash import safe_norm

# Pictures [batch, height, width, channels] to scores [batch, classes], and to gradients of one score by the pixels.
Scores = Callable[[Any], Any]
Gradients = Callable[[Any], Any]
Picture = Float[Array, "height width channels"]
Map = Float[Array, "height width"]

# Masked pictures that go through the network at a time: always as many, so that one program is enough.
CHUNK = 32


def assigned_activation(couplings: Float[Array, "in out"], activations: Float[Array, "in"]) -> Float[Array, "in out"]:
    """The activation that each in capsule assigns to each out capsule, R_ij a_i (Hinton et al. 2018, procedure 1).

    Where rows of couplings sum to 1, the shares of an in capsule sum to its activation.

    Args:
        couplings: of the routing.
        activations: of the in capsules; the norm of a squashed pose is one (Sabour et al. 2017).
    """
    wide = at_least_float32(couplings)
    return wide * activations.astype(wide.dtype)[:, None]


def vote_contributions(
    shares: Float[Array, "in out"], votes: Float[Array, "in out dim"], poses: Float[Array, "out dim"]
) -> Float[Array, "in out"]:
    """What each weighted vote adds to the length of the out capsule: s_ij <v_ij, p_j> / |p_j|.

    A routing that sums votes has s_j = sum_i c_ij v_ij, in the direction of its pose (Sabour et al. 2017, equation 2).
    So with its couplings as shares the contributions sum to |s_j|. A negative one is a vote against the pose.

    Args:
        shares: what the votes are multiplied by: the couplings, times activations if the routing takes them.
        votes: of the in capsules.
        poses: of the out capsules. A pose of 0 has no direction: its contributions are 0.
    """
    wide, directions = at_least_float32(votes), at_least_float32(poses)
    directions = directions / jnp.maximum(safe_norm(directions), 1e-12)[:, None]
    return shares.astype(wide.dtype) * agreement(wide, directions)


def place_map(shares: Float[Array, "in out"], *, grid: int, side: int) -> Float[Array, "out side side"]:
    """Sums the shares of all capsule types at a place and enlarges the grid of places to the picture, bilinearly.

    Args:
        shares: of in capsules in the order row, column, type.
        grid: places in a row and in a column.
        side: of the picture in pixels. The sum over pixels is that over in capsules times (side / grid)^2, but for what
            interpolation changes at borders.
    """
    places = jnp.sum(shares.reshape(grid, grid, -1, shares.shape[1]), axis=2)
    return jax.image.resize(jnp.moveaxis(places, -1, 0), (shares.shape[1], side, side), "linear")


def smooth_gradient(
    gradients: Gradients, image: Picture, key: PRNGKeyArray, *, samples: int = 32, noise: float = 0.15
) -> Map:
    """SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825): the mean gradient at noisy copies of the picture.

    Args:
        gradients: of the score to explain.
        image: the picture.
        key: draws the noise.
        samples: number of noisy copies.
        noise: standard deviation of the noise, as a share of the picture's range.

    Returns:
        The sum over channels of the mean gradient's absolute values, not negative.
    """
    spread = noise * (jnp.max(image) - jnp.min(image))
    copies = image[None] + spread * jax.random.normal(key, (samples, *image.shape), image.dtype)
    return jnp.sum(jnp.abs(jnp.mean(gradients(copies), axis=0)), axis=-1)


def integrated_gradient(gradients: Gradients, image: Picture, baseline: Picture, *, steps: int = 32) -> Map:
    """Integrated gradients (Sundararajan et al. 2017, equation 1), by the midpoint rule.

    Args:
        gradients, image: as `smooth_gradient`.
        baseline: the picture that stands for the absence of content.
        steps: points on the straight line from the baseline to the picture.

    Returns:
        Signed, summed over channels. Its sum is about the score of the picture minus that of the baseline.
    """
    shares = ((jnp.arange(steps, dtype=image.dtype) + 0.5) / steps)[:, None, None, None]
    change = image - baseline
    return jnp.sum(change * jnp.mean(gradients(baseline[None] + shares * change[None]), axis=0), axis=-1)


def occlusion(
    scores: Scores, image: Picture, filling: Picture, *, patch: int, stride: int
) -> Float[Array, "classes height width"]:
    """How far the scores fall when a sliding square is filled (Zeiler and Fergus 2014, section 4.2).

    Args:
        scores: of the classes.
        image: the picture.
        filling: what the square shows instead, such as a blurred picture.
        patch, stride: side of the square and its steps, in pixels. The square starts outside the picture, so that
            borders are covered as often as the middle.

    Returns:
        For each pixel the fall of each score, averaged over the squares that cover it. Negative where the filling
        raises the score.
    """
    height, width, _ = image.shape
    covers = []
    for side in (height, width):
        starts = np.arange(stride - patch, side, stride)
        pixels = np.arange(side)
        covers.append((pixels >= starts[:, None]) & (pixels < starts[:, None] + patch))
    masks = (covers[0][:, None, :, None] & covers[1][None, :, None, :]).reshape(-1, height, width)
    # The first mask hides nothing.
    found = _filled_scores(scores, image, filling, np.concatenate([np.zeros_like(masks[:1]), masks]))
    counts = jnp.asarray(masks, found.dtype)
    total = jnp.einsum("nhw,nc->chw", counts, found[:1] - found[1:], precision="highest")
    return total / jnp.sum(counts, axis=0)[None]


def erasure_curves(
    scores: Scores, image: Picture, filling: Picture, importance: Float[Array, "maps height width"], *, steps: int
) -> tuple[Float[Array, "maps points classes"], Float[Array, "maps points classes"]]:
    """The scores while the most important pixels are deleted or inserted (Petsiuk et al. 2018, section 3.2).

    Args:
        scores, image: as `occlusion`.
        filling: what a deleted pixel shows, and what insertion starts from.
        importance: maps that say which pixels to take first. Of equal pixels, the upper left ones come first.
        steps: number of equal parts that the pixels are taken in; a curve has steps + 1 points.

    Returns:
        Deletion, from the whole picture to the filling, and insertion, the reverse. The lower the area under the first
        and the higher that under the second, the better the map says what the scores depend on.
    """
    maps, height, width = importance.shape
    order = np.argsort(-np.asarray(importance).reshape(maps, -1), axis=1, kind="stable")
    limits = np.round(np.linspace(0, height * width, steps + 1))
    taken = np.argsort(order, axis=1)[:, None] < limits[:, None]
    masks = np.stack([taken, ~taken]).reshape(-1, height, width)
    found = _filled_scores(scores, image, filling, masks).reshape(2, maps, steps + 1, -1)
    return found[0], found[1]


def _filled_scores(
    scores: Scores, image: Picture, filling: Picture, masks: np.ndarray
) -> Float[Array, "masks classes"]:
    """The scores of the picture with the filling where a mask is True."""
    found = []
    for start in range(0, len(masks), CHUNK):
        some = masks[start : start + CHUNK]
        padded = jnp.asarray(np.pad(some, ((0, CHUNK - len(some)), (0, 0), (0, 0))))
        found.append(scores(jnp.where(padded[..., None], filling[None], image[None]))[: len(some)])
    return jnp.concatenate(found)
