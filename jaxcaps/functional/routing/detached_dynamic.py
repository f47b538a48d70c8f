"""Dynamic routing whose couplings are constants to the gradient."""

from dataclasses import dataclass

from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing._agreement import (
    ByAgreement,
    Scale,
    check_agreement,
    couple_by_softmax,
    route_by_agreement,
    squashed_sum,
    weighted,
)
from jaxcaps.functional.routing.base import Routed, as_votes
from jaxcaps.functional.squash import safe_norm


def detached_dynamic_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    iterations: int = 3,
    agreement_scale: Scale = 1.0,
) -> Routed:
    """Dynamic routing whose couplings are constants to the gradient, as in many re-implementations.

    The values are those of `dynamic_routing`. The gradient flows through the last iteration's sum and squash alone,
    which is cheaper and loses the derivative of the couplings by the votes.

    Args, returns and errors: as `dynamic_routing`.
    """
    check_agreement(votes, in_activations, iterations, agreement_scale)
    wide = at_least_float32(votes)
    constant = None if in_activations is None else lax.stop_gradient(in_activations)
    scale = lax.stop_gradient(agreement_scale)
    couplings = route_by_agreement(lax.stop_gradient(wide), constant, iterations, couple_by_softmax, scale).couplings
    poses = squashed_sum(couplings, weighted(wide, in_activations))
    return as_votes(Routed(poses, safe_norm(poses), couplings), votes)


@dataclass(frozen=True)
class DetachedDynamic(ByAgreement):
    """The description of `detached_dynamic_routing`."""

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        scale = self.fixed_scale(votes.shape[:2])
        return detached_dynamic_routing(votes, in_activations, iterations=self.iterations, agreement_scale=scale)


ROUTING = DetachedDynamic
