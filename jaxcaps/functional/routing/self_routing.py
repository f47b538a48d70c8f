"""Self-routing: a learned gate of each in capsule decides, without iterations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing._gaussian import LEAST_MASS
from jaxcaps.functional.routing.base import (
    ParameterSpec,
    Routed,
    RoutingShape,
    as_votes,
    check_votes,
    gather,
    in_weights,
)


def self_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    in_poses: Float[Array, "in in_dim"],
    gate_weights: Float[Array, "in out in_dim"],
    gate_bias: Float[Array, "in out"] | None = None,
) -> Routed:
    """Self-routing (Hahn et al. 2019, equations 4 to 6).

    The couplings are a small network's, a linear layer of each in capsule's own pose: c_i = softmax over the out
    capsules of (W_i u_i + b_i). Then a_j = sum_i c_ij a_i / sum_i a_i, and the pose is the mean of the votes weighted
    by c_ij a_i.

    Args:
        votes: computed in at least float32.
        in_activations: in [0, 1]; 1 where not given.
        in_poses: poses of the in capsules.
        gate_weights, gate_bias: learned; no bias where not given.

    Returns:
        The weighted means; activations in [0, 1], which sum to 1 over the out capsules; couplings, whose rows sum to 1.
        All in the dtype of `votes`. Where all in activations are 0 poses and activations are 0.

    Raises:
        ValueError: a shape does not fit.
    """
    check_votes(
        votes,
        in_activations=(in_activations, "in"),
        in_poses=(in_poses, "in in_dim"),
        gate_weights=(gate_weights, "in out in_dim"),
        gate_bias=(gate_bias, "in out"),
    )
    if in_poses.shape[1] != gate_weights.shape[2]:
        raise ValueError(
            f"gate_weights: last axis {in_poses.shape[1]} expected, the dimension of in_poses, "
            f"found {gate_weights.shape[2]}"
        )
    wide = at_least_float32(votes)
    logits = jnp.einsum("ijk,ik->ij", gate_weights.astype(wide.dtype), in_poses.astype(wide.dtype))
    if gate_bias is not None:
        logits = logits + gate_bias.astype(wide.dtype)
    couplings = jax.nn.softmax(logits, axis=1)
    active = in_weights(wide, in_activations)
    shares = couplings * active[:, None]
    mass = jnp.sum(shares, axis=0)
    poses = gather(shares / jnp.maximum(mass, LEAST_MASS)[None], wide)
    activations = mass / jnp.maximum(jnp.sum(active), LEAST_MASS)
    return as_votes(Routed(poses, activations, couplings), votes)


@dataclass(frozen=True)
class SelfRouting:
    """The description of `self_routing`.

    Learned: `gate_weights` [in, out, in_dim], from a normal distribution that gives unit poses logits of unit
    variance, and `gate_bias` [in, out], from 0.
    """

    needs: ClassVar[tuple[str, ...]] = ("in_activations", "in_poses")
    averages: ClassVar[bool] = True

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        matrix = (shape.in_capsules, shape.out_capsules)
        draw = jax.nn.initializers.normal(1.0)
        return {"gate_weights": ParameterSpec((*matrix, shape.in_dim), draw), "gate_bias": ParameterSpec(matrix)}

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        *,
        in_poses: Float[Array, "in in_dim"],
        gate_weights: Float[Array, "in out in_dim"],
        gate_bias: Float[Array, "in out"] | None = None,
    ) -> Routed:
        return self_routing(votes, in_activations, in_poses=in_poses, gate_weights=gate_weights, gate_bias=gate_bias)


ROUTING = SelfRouting
