"""What the routings by agreement share: the loop, and the sums that it squashes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.routing.base import (
    ParameterSpec,
    Routed,
    RoutingShape,
    agreement,
    check_settings,
    gather,
    in_weights,
)
from jaxcaps.functional.squash import safe_norm, squash


def squashed_sum(couplings: Float[Array, "in out"], votes: Float[Array, "in out dim"]) -> Float[Array, "out dim"]:
    """The poses of the out capsules under these couplings."""
    return squash(gather(couplings, votes))


def weighted(votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None) -> Array:
    """The votes times the activations of their in capsules, if there are any."""
    return votes if in_activations is None else votes * in_weights(votes, in_activations)[:, None, None]


def couple_by_softmax(logits: Float[Array, "in out *batch"]) -> Float[Array, "in out *batch"]:
    """A softmax over the out capsules."""
    return jax.nn.softmax(logits, axis=1)


def route_by_agreement(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None,
    iterations: int,
    couple: Callable[[Array], Array],
) -> Routed:
    """Iterates the agreement of votes and poses.

    The logits add up the agreements with one pose after another, so they equal the agreement with the sum of the poses
    so far. The loop carries that sum instead of logits [in, out].
    """
    counted = weighted(votes, in_activations)
    couplings = couple(jnp.zeros(votes.shape[:2], votes.dtype))
    poses = squashed_sum(couplings, counted)
    if iterations > 1:

        def iterate(_: Array, total: Array) -> Array:
            return total + squashed_sum(couple(agreement(votes, total)), counted)

        pose_sum = lax.fori_loop(1, iterations - 1, iterate, poses)
        couplings = couple(agreement(votes, pose_sum))
        poses = squashed_sum(couplings, counted)
    return Routed(poses, safe_norm(poses), couplings)


@dataclass(frozen=True)
class Iterated:
    """The description of a routing that has no setting but the number of iterations, and no learned parameters."""

    iterations: Annotated[int, Ge(1)] = 3
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_settings(self)

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {}
