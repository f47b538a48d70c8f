"""Routing by attention of the in capsules to the out capsules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
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
    check_settings,
    check_votes,
    even_couplings,
    gather,
    in_weights,
)
from jaxcaps.functional.squash import safe_norm

# As in the layer normalisation of PyTorch, which the authors' code uses.
VARIANCE_OFFSET = 1e-5


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
        ValueError: `iterations` is not a Python int of at least 1, or a shape does not fit.
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
class InvertedAttention:
    """The description of `inverted_attention_routing`. Learned: `norm_scale` and `norm_bias` [dim], from 1 and 0."""

    iterations: Annotated[int, Ge(1)] = 2
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_settings(self)

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


ROUTING = InvertedAttention
