"""What the routings by agreement share: the loop, and the sums that it squashes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.cpu.dynamic import fused_dynamic
from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing.base import (
    ParameterSpec,
    Routed,
    RoutingShape,
    agreement,
    as_votes,
    check_iterations,
    check_votes,
    gather,
    in_weights,
)
from jaxcaps.functional.squash import safe_norm, squash

# What the agreements are multiplied by: a number, or a learned one.
Scale = float | Float[Array, ""]


def squashed_sum(couplings: Float[Array, "in out"], votes: Float[Array, "in out dim"]) -> Float[Array, "out dim"]:
    """The poses of the out capsules under these couplings."""
    return squash(gather(couplings, votes))


def weighted(votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None) -> Array:
    """The votes times the activations of their in capsules, if there are any."""
    return votes if in_activations is None else votes * in_weights(votes, in_activations)[:, None, None]


def couple_by_softmax(logits: Float[Array, "in out *batch"]) -> Float[Array, "in out *batch"]:
    """A softmax over the out capsules."""
    return jax.nn.softmax(logits, axis=1)


Couple = Callable[[Array], Array]


def check_agreement(
    votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None, iterations: int, scale: Scale
) -> None:
    """
    Raises:
        ValueError: `iterations` is not a Python int of at least 1, or a shape does not fit.
    """
    check_iterations(iterations)
    learned = None if isinstance(scale, int | float) else scale
    check_votes(votes, in_activations=(in_activations, "in"), agreement_scale=(learned, ""))


def route_by_agreement(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None,
    iterations: int,
    couple: Couple,
    scale: Scale = 1.0,
) -> Routed:
    """Iterates the agreement of votes and poses.

    The logits add up the agreements with one pose after another, times the scale, so they equal the agreement with the
    scaled sum of the poses so far. The loop carries that sum instead of logits [in, out].
    """
    scale = jnp.asarray(scale, votes.dtype)
    counted = weighted(votes, in_activations)
    couplings = couple(jnp.zeros(votes.shape[:2], votes.dtype))
    poses = squashed_sum(couplings, counted)
    if iterations > 1:

        def iterate(_: Array, total: Array) -> Array:
            return total + squashed_sum(couple(agreement(votes, scale * total)), counted)

        pose_sum = lax.fori_loop(1, iterations - 1, iterate, poses)
        couplings = couple(agreement(votes, scale * pose_sum))
        poses = squashed_sum(couplings, counted)
    return Routed(poses, safe_norm(poses), couplings)


def route_checked(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None,
    iterations: int,
    couple: Couple,
    scale: Scale,
) -> Routed:
    """`route_by_agreement` of checked arguments in at least float32. The result has the dtype of the votes.

    Raises:
        ValueError: as `check_agreement`.
    """
    check_agreement(votes, in_activations, iterations, scale)
    wide = at_least_float32(votes)
    return as_votes(route_by_agreement(wide, in_activations, iterations, couple, scale), votes)


@dataclass(frozen=True)
class Iterated:
    """The description of a routing that iterates and has no learned parameters."""

    iterations: Annotated[int, Ge(1)] = 3
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_iterations(self.iterations)

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {}


@dataclass(frozen=True)
class ByAgreement(Iterated):
    """The description of a routing by agreement whose agreements are scaled.

    Attributes:
        iterations: number of squashes.
        agreement_scale: what the agreements are multiplied by before they are added to the logits: a number, or
            "capsules" for in / out, the number of in capsules for each out capsule (docs/explanation/routing.md derives
            it). 1 is Sabour et al. 2017.
    """

    agreement_scale: Annotated[float, Gt(0)] | Literal["capsules"] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        scale: Any = self.agreement_scale
        number = isinstance(scale, int | float) and not isinstance(scale, bool)
        if scale != "capsules" and not (number and 0 < scale < math.inf):
            raise ValueError(f"agreement_scale must be a finite number above 0 or 'capsules', not {scale!r}")

    def fixed_scale(self, shape: Sequence[int]) -> float:
        """The scale in a layer of so many in and out capsules; where it is learned, before training."""
        in_capsules, out_capsules = shape
        return in_capsules / out_capsules if self.agreement_scale == "capsules" else float(self.agreement_scale)


@dataclass(frozen=True)
class ByLearnableAgreement(ByAgreement):
    """As `ByAgreement`, and the gradient passes through the couplings, so that the scale can be learned.

    Attributes:
        learn_agreement_scale: whether a layer learns its scale, starting at `agreement_scale`. The parameter is the
            logarithm of the scale.
        couple: from logits to couplings.
    """

    learn_agreement_scale: bool = False
    couple: ClassVar[Any]

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        if not self.learn_agreement_scale:
            return {}
        return {"log_agreement_scale": ParameterSpec((), math.log(self.fixed_scale(shape[:2])))}

    def scale(self, shape: Sequence[int], log_agreement_scale: Float[Array, ""] | None) -> Scale:
        """The scale in a layer of so many in and out capsules, given its parameter, if it has one."""
        if log_agreement_scale is None:
            return self.fixed_scale(shape)
        return jnp.exp(at_least_float32(log_agreement_scale))

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        *,
        log_agreement_scale: Float[Array, ""] | None = None,
    ) -> Routed:
        scale = self.scale(votes.shape[:2], log_agreement_scale)
        return route_checked(votes, in_activations, self.iterations, self.couple, scale)

    def route_fused(
        self,
        weights: Float[Array, "in out dim_out dim_in"],
        poses: Float[Array, "batch in dim_in"],
        *,
        log_agreement_scale: Float[Array, ""] | None = None,
    ) -> Routed:
        scale = self.scale(weights.shape[:2], log_agreement_scale)
        poses, couplings = fused_dynamic(weights, poses, iterations=self.iterations, couple=self.couple, scale=scale)
        return Routed(poses, safe_norm(poses), couplings)
