"""What EM and Heinsen's routing share: one diagonal Gaussian of the votes for each out capsule."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcaps.functional.precision import LEAST_MASS
from jaxcaps.functional.routing.base import agreement, gather


class Gaussian(NamedTuple):
    """Attributes: mean [out, dim], variance [out, dim] (not yet floored), mass [out]."""

    mean: Array
    variance: Array
    mass: Array


def weighted_gaussian(votes: Float[Array, "in out dim"], shares: Float[Array, "in out"]) -> Gaussian:
    """The mean and variance of the votes for each out capsule, weighted by the in capsules' shares.

    An out capsule that got no mass has mean and variance 0, with finite gradients.
    """
    mass = jnp.sum(shares, axis=0)
    normalised = shares / jnp.maximum(mass, LEAST_MASS)[None]
    mean = gather(normalised, votes)
    # Around the mean: the difference of two sums of squares would cancel.
    variance = gather(normalised, jnp.square(votes - mean[None]))
    return Gaussian(mean, variance, mass)


def log_density(
    votes: Float[Array, "in out dim"], mean: Float[Array, "out dim"], variance: Float[Array, "out dim"]
) -> Float[Array, "in out"]:
    """The logarithm of each vote's density under its out capsule's Gaussian."""
    exponent = agreement(jnp.square(votes - mean[None]), 1 / variance)
    return -0.5 * (exponent + jnp.sum(jnp.log(2 * np.pi * variance), axis=1)[None])
