"""Dynamic routing with a category for in capsules that belong to no out capsule."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.routing._agreement import ByLearnableAgreement, Scale, route_checked
from jaxcaps.functional.routing.base import Routed


def _leaky_softmax(logits: Float[Array, "in out *batch"]) -> Float[Array, "in out *batch"]:
    """A softmax with one more logit, 0, whose share is dropped."""
    top = lax.stop_gradient(jnp.maximum(jnp.max(logits, axis=1, keepdims=True), 0))
    shares = jnp.exp(logits - top)
    return shares / (jnp.sum(shares, axis=1, keepdims=True) + jnp.exp(-top))


def leaky_dynamic_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    iterations: int = 3,
    agreement_scale: Scale = 1.0,
) -> Routed:
    """Dynamic routing in which an in capsule may belong to none of the out capsules.

    The "none of the above" category of Sabour et al. 2017, section 5 (their CIFAR-10 network), as their code has it
    ("leaky routing"): the softmax has one more logit, fixed at 0, whose share goes nowhere.

    Args and errors: as `dynamic_routing`.

    Returns:
        As `dynamic_routing`, but a row of couplings sums to less than 1; what is missing went nowhere. The first
        couplings are 1 / (out + 1).
    """
    return route_checked(votes, in_activations, iterations, _leaky_softmax, agreement_scale)


@dataclass(frozen=True)
class LeakyDynamic(ByLearnableAgreement):
    """The description of `leaky_dynamic_routing`."""

    couple: ClassVar = staticmethod(_leaky_softmax)


ROUTING = LeakyDynamic
