"""Dynamic routing whose couplings are constants to the gradient."""

from dataclasses import dataclass

from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing._agreement import (
    Iterated,
    couple_by_softmax,
    route_by_agreement,
    squashed_sum,
    weighted,
)
from jaxcaps.functional.routing.base import (
    Routed,
    as_votes,
    check_iterations,
    check_votes,
)
from jaxcaps.functional.squash import safe_norm


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
    couplings = route_by_agreement(lax.stop_gradient(wide), constant, iterations, couple_by_softmax).couplings
    poses = squashed_sum(couplings, weighted(wide, in_activations))
    return as_votes(Routed(poses, safe_norm(poses), couplings), votes)


@dataclass(frozen=True)
class DetachedDynamic(Iterated):
    """The description of `detached_dynamic_routing`: no learned parameters."""

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        return detached_dynamic_routing(votes, in_activations, iterations=self.iterations)


ROUTING = DetachedDynamic
