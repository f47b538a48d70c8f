"""Dynamic routing with a category for in capsules that belong to no out capsule."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.cpu.dynamic import fused_dynamic
from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing._agreement import ByLearnableAgreement, Scale, check_agreement, route_by_agreement
from jaxcaps.functional.routing.base import Routed, as_votes
from jaxcaps.functional.squash import safe_norm


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
    check_agreement(votes, in_activations, iterations, agreement_scale)
    return as_votes(
        route_by_agreement(at_least_float32(votes), in_activations, iterations, _leaky_softmax, agreement_scale), votes
    )


@dataclass(frozen=True)
class LeakyDynamic(ByLearnableAgreement):
    """The description of `leaky_dynamic_routing`."""

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        *,
        log_agreement_scale: Float[Array, ""] | None = None,
    ) -> Routed:
        scale = self.scale(votes.shape[:2], log_agreement_scale)
        return leaky_dynamic_routing(votes, in_activations, iterations=self.iterations, agreement_scale=scale)

    def route_fused(
        self,
        weights: Float[Array, "in out dim_out dim_in"],
        poses: Float[Array, "batch in dim_in"],
        *,
        log_agreement_scale: Float[Array, ""] | None = None,
    ) -> Routed:
        scale = self.scale(weights.shape[:2], log_agreement_scale)
        poses, couplings = fused_dynamic(weights, poses, iterations=self.iterations, couple=_leaky_softmax, scale=scale)
        return Routed(poses, safe_norm(poses), couplings)


ROUTING = LeakyDynamic
