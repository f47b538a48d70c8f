"""Dynamic routing between capsules by agreement, and three of its kin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.fused import fused_dynamic
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
from jaxcaps.functional.squash import safe_norm, squash


def _gather(couplings: Float[Array, "in out"], votes: Float[Array, "in out dim"]) -> Float[Array, "out dim"]:
    return squash(gather(couplings, votes))


def _weighted(votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None) -> Array:
    return votes if in_activations is None else votes * in_weights(votes, in_activations)[:, None, None]


def _softmax(logits: Float[Array, "in out *batch"]) -> Float[Array, "in out *batch"]:
    return jax.nn.softmax(logits, axis=1)


def _leaky_softmax(logits: Float[Array, "in out *batch"]) -> Float[Array, "in out *batch"]:
    """A softmax with one more logit, 0, whose share is dropped."""
    top = lax.stop_gradient(jnp.maximum(jnp.max(logits, axis=1, keepdims=True), 0))
    shares = jnp.exp(logits - top)
    return shares / (jnp.sum(shares, axis=1, keepdims=True) + jnp.exp(-top))


def _route(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None,
    iterations: int,
    couple: Callable[[Array], Array],
) -> Routed:
    """Iterates. The logits only gather agreements with one pose after another, so they equal the agreement with the
    sum of the poses so far: that sum, not [in, out] logits, is what the loop carries."""
    weighted = _weighted(votes, in_activations)
    couplings = couple(jnp.zeros(votes.shape[:2], votes.dtype))
    poses = _gather(couplings, weighted)
    if iterations > 1:

        def iterate(_: Array, total: Array) -> Array:
            return total + _gather(couple(agreement(votes, total)), weighted)

        pose_sum = lax.fori_loop(1, iterations - 1, iterate, poses)
        couplings = couple(agreement(votes, pose_sum))
        poses = _gather(couplings, weighted)
    return Routed(poses, safe_norm(poses), couplings)


def dynamic_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    iterations: int = 3,
) -> Routed:
    """Routing by agreement (Sabour et al. 2017, procedure 1), with the gradient through all its iterations.

    Each iteration couples every in capsule to the out capsules by a softmax over the *out* capsules, squashes each out
    capsule's coupled sum of votes into its pose, and adds the agreement of votes and poses to the logits. So
    `iterations` is the number of squashes. The logits start at 0, so the first couplings are 1 / out.

    Args:
        votes: the pose each in capsule predicts for each out capsule; computed in at least float32.
        in_activations: where given, scale each in capsule's share of the sums (not its couplings or agreement). Leave
            them out where the norm of a pose is its activation, as in the paper: the votes carry it already.
        iterations: a Python int of at least 1.

    Returns:
        Poses of norm below 1; activations, their norms, in [0, 1); the last iteration's couplings, whose rows sum to 1.
        All in the dtype of `votes`.

    Raises:
        ValueError: `iterations` is no Python int of at least 1, or a shape does not fit.
    """
    check_iterations(iterations)
    check_votes(votes, in_activations=(in_activations, "in"))
    return as_votes(_route(at_least_float32(votes), in_activations, iterations, _softmax), votes)


def detached_dynamic_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    iterations: int = 3,
) -> Routed:
    """Dynamic routing whose couplings are constants to the gradient, as in many re-implementations.

    The values are those of `dynamic_routing`. The gradient flows through the last iteration's sum and squash alone,
    which is cheaper and loses the derivative of the couplings by the votes.

    Args, returns and errors: as `dynamic_routing`.
    """
    check_iterations(iterations)
    check_votes(votes, in_activations=(in_activations, "in"))
    wide = at_least_float32(votes)
    constant = None if in_activations is None else lax.stop_gradient(in_activations)
    couplings = _route(lax.stop_gradient(wide), constant, iterations, _softmax).couplings
    poses = _gather(couplings, _weighted(wide, in_activations))
    return as_votes(Routed(poses, safe_norm(poses), couplings), votes)


def leaky_dynamic_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    iterations: int = 3,
) -> Routed:
    """Dynamic routing in which an in capsule may belong to none of the out capsules.

    The "none of the above" category of Sabour et al. 2017, section 5 (their CIFAR-10 network), as their code has it
    ("leaky routing"): the softmax has one more logit, fixed at 0, whose share goes nowhere.

    Args and errors: as `dynamic_routing`.

    Returns:
        As `dynamic_routing`, but a row of couplings sums to less than 1; what is missing went nowhere. The first
        couplings are 1 / (out + 1).
    """
    check_iterations(iterations)
    check_votes(votes, in_activations=(in_activations, "in"))
    return as_votes(_route(at_least_float32(votes), in_activations, iterations, _leaky_softmax), votes)


def uniform_routing(votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
    """No routing: each in capsule is shared evenly among the out capsules, and the sums are squashed.

    The honest baseline: Paik et al. 2019 (arXiv 1907.13327) and Gu and Tresp 2020 (arXiv 1911.07968) found that routing
    may add nothing to it. It is the first iteration of `dynamic_routing`.

    Args, returns and errors: as `dynamic_routing`; the couplings are 1 / out.
    """
    check_votes(votes, in_activations=(in_activations, "in"))
    wide = at_least_float32(votes)
    couplings = even_couplings(wide)
    poses = _gather(couplings, _weighted(wide, in_activations))
    return as_votes(Routed(poses, safe_norm(poses), couplings), votes)


@dataclass(frozen=True)
class _Iterated:
    iterations: int = 3
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_iterations(self.iterations)

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {}


@dataclass(frozen=True)
class Dynamic(_Iterated):
    """The description of `dynamic_routing`: no learned parameters."""

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        return dynamic_routing(votes, in_activations, iterations=self.iterations)

    def route_fused(
        self, weights: Float[Array, "in out dim_out dim_in"], poses: Float[Array, "batch in dim_in"]
    ) -> Routed:
        poses, couplings = fused_dynamic(weights, poses, iterations=self.iterations, couple=_softmax)
        return Routed(poses, safe_norm(poses), couplings)


@dataclass(frozen=True)
class DetachedDynamic(_Iterated):
    """The description of `detached_dynamic_routing`: no learned parameters."""

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        return detached_dynamic_routing(votes, in_activations, iterations=self.iterations)


@dataclass(frozen=True)
class LeakyDynamic(_Iterated):
    """The description of `leaky_dynamic_routing`: no learned parameters."""

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        return leaky_dynamic_routing(votes, in_activations, iterations=self.iterations)

    def route_fused(
        self, weights: Float[Array, "in out dim_out dim_in"], poses: Float[Array, "batch in dim_in"]
    ) -> Routed:
        poses, couplings = fused_dynamic(weights, poses, iterations=self.iterations, couple=_leaky_softmax)
        return Routed(poses, safe_norm(poses), couplings)


@dataclass(frozen=True)
class Uniform:
    """The description of `uniform_routing`: no learned parameters."""

    needs: ClassVar[tuple[str, ...]] = ()

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {}

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        return uniform_routing(votes, in_activations)
