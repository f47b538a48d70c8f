"""Routing by attention of the votes among themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing.base import (
    ParameterSpec,
    Routed,
    RoutingShape,
    agreement,
    as_votes,
    check_votes,
    gather,
    in_weights,
)
from jaxcaps.functional.squash import exponential_squash, safe_norm

# Chosen: the deviation of self-attention's logits at the start, where couplings are even to a tenth.
INITIAL_LOGITS = 0.1


def self_attention_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    prior: Float[Array, "in out"] | None = None,
) -> Routed:
    """Self-attention routing (Mazzia et al. 2021, Efficient-CapsNet, equations 4 to 7): one pass, no iterations.

    A vote counts as much as it agrees with all votes for the same out capsule, itself included:
    c_ij = softmax over j of (sum_k <u_ij, u_kj> / sqrt(dim)), plus a learned prior *after* the softmax. The sum over k
    is taken first, so the cost is linear in the in capsules. Poses are squashed by (1 - exp(-|s|)) s / |s|.

    Args:
        votes: computed in at least float32.
        in_activations: where given, scale each in capsule's share of the sums (the paper has none).
        prior: learned, added to the couplings; 0 where not given.

    Returns:
        Poses of norm below 1; activations, their norms, in [0, 1); couplings with the prior added, whose rows sum to 1
        plus the prior's. All in the dtype of `votes`.

    Raises:
        ValueError: a shape does not fit.
    """
    check_votes(votes, in_activations=(in_activations, "in"), prior=(prior, "in out"))
    wide = at_least_float32(votes)
    totals = gather(jnp.ones(wide.shape[:2], wide.dtype), wide)
    logits = agreement(wide, totals) / wide.shape[2] ** 0.5
    couplings = jax.nn.softmax(logits, axis=1)
    if prior is not None:
        couplings = couplings + prior.astype(wide.dtype)
    shares = couplings * in_weights(wide, in_activations)[:, None]
    poses = exponential_squash(gather(shares, wide))
    return as_votes(Routed(poses, safe_norm(poses), couplings), votes)


@dataclass(frozen=True)
class SelfAttention:
    """The description of `self_attention_routing`. Learned: `prior` [in, out], from 0."""

    needs: ClassVar[tuple[str, ...]] = ()

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {"prior": ParameterSpec((shape.in_capsules, shape.out_capsules))}

    def initial_norm(self, shape: RoutingShape) -> float:
        """At most 1, and so small that the logits start small too.

        A vote of norm out / sqrt(in) * n meets sums of norm out * n at random: the logits deviate by
        out^2 n^2 / (sqrt(in) dim). Where they start large, few votes count, and the network may learn nothing from
        them: Efficient-CapsNet, of 16 in capsules, stayed at one class for 400 steps.
        """
        return min(1.0, (INITIAL_LOGITS * shape.in_capsules**0.5 * shape.out_dim) ** 0.5 / shape.out_capsules)

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        *,
        prior: Float[Array, "in out"] | None = None,
    ) -> Routed:
        return self_attention_routing(votes, in_activations, prior=prior)


ROUTING = SelfAttention
