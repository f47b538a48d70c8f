"""Routing by attention: of the votes among themselves, and of the in capsules to the out capsules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing.base import (
    ParameterSpec,
    Routed,
    RoutingShape,
    agreement,
    as_votes,
    check_iterations,
    check_votes,
    even_couplings,
    gather,
    in_weights,
)
from jaxcaps.functional.squash import exponential_squash, safe_norm

# As in the layer normalisation of PyTorch, which the authors' code uses.
VARIANCE_OFFSET = 1e-5
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


def inverted_attention_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    norm_scale: Float[Array, "dim"] | None = None,
    norm_bias: Float[Array, "dim"] | None = None,
    initial_poses: Float[Array, "out dim"] | None = None,
    iterations: int = 2,
) -> Routed:
    """Inverted dot-product attention routing (Tsai et al. 2020, algorithm 1).

    The out capsules compete for each in capsule: r_ij = softmax over j of <p_j, v_ij>, and p_j = LayerNorm(sum_i r_ij
    v_ij). An out capsule keeps its pose from one iteration to the next. Where it starts at 0 the first iteration's
    couplings are 1 / out.

    Args:
        votes: computed in at least float32.
        in_activations: where given, scale each in capsule's share of the sums (the paper has none).
        norm_scale, norm_bias: of the layer normalisation, one for all out capsules, learned; 1 and 0 where not given.
        initial_poses: what the out capsules start from, such as their poses of an earlier pass (the paper's concurrent
            routing); 0 where not given.
        iterations: number of attentions, a Python int of at least 1.

    Returns:
        Poses; activations, their norms divided by sqrt(dim): close to 1 whatever the votes, as layer normalisation
        makes them, so that a classifier reads its scores from the poses by a linear layer, as the paper's does;
        couplings, whose rows sum to 1. All in the dtype of `votes`.

    Raises:
        ValueError: `iterations` is no Python int of at least 1, or a shape does not fit.
    """
    check_iterations(iterations)
    check_votes(
        votes,
        in_activations=(in_activations, "in"),
        norm_scale=(norm_scale, "dim"),
        norm_bias=(norm_bias, "dim"),
        initial_poses=(initial_poses, "out dim"),
    )
    wide = at_least_float32(votes)
    active = in_weights(wide, in_activations)[:, None]

    def attend(poses: Float[Array, "out dim"]) -> Float[Array, "in out"]:
        return jax.nn.softmax(agreement(wide, poses), axis=1)

    def pose_of(couplings: Float[Array, "in out"]) -> Float[Array, "out dim"]:
        sums = gather(couplings * active, wide)
        centred = sums - jnp.mean(sums, axis=1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=1, keepdims=True)
        poses = centred * lax.rsqrt(variance + VARIANCE_OFFSET)
        if norm_scale is not None:
            poses = poses * norm_scale.astype(wide.dtype)[None]
        return poses if norm_bias is None else poses + norm_bias.astype(wide.dtype)[None]

    couplings = even_couplings(wide) if initial_poses is None else attend(initial_poses.astype(wide.dtype))
    poses = pose_of(couplings)
    if iterations > 1:
        poses = lax.fori_loop(1, iterations - 1, lambda _, before: pose_of(attend(before)), poses)
        couplings = attend(poses)
        poses = pose_of(couplings)
    return as_votes(Routed(poses, safe_norm(poses) / wide.shape[2] ** 0.5, couplings), votes)


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


@dataclass(frozen=True)
class InvertedAttention:
    """The description of `inverted_attention_routing`. Learned: `norm_scale` and `norm_bias` [dim], from 1 and 0."""

    iterations: int = 2
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_iterations(self.iterations)

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {"norm_scale": ParameterSpec((shape.out_dim,), 1.0), "norm_bias": ParameterSpec((shape.out_dim,))}

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        *,
        norm_scale: Float[Array, "dim"] | None = None,
        norm_bias: Float[Array, "dim"] | None = None,
        initial_poses: Float[Array, "out dim"] | None = None,
    ) -> Routed:
        return inverted_attention_routing(
            votes,
            in_activations,
            norm_scale=norm_scale,
            norm_bias=norm_bias,
            initial_poses=initial_poses,
            iterations=self.iterations,
        )
