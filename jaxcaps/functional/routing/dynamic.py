"""Dynamic routing between capsules by agreement."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Array, Float

from jaxcaps.functional.routing._agreement import ByLearnableAgreement, Scale, couple_by_softmax, route_checked
from jaxcaps.functional.routing.base import Routed


def dynamic_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    iterations: int = 3,
    agreement_scale: Scale = 1.0,
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
        agreement_scale: what the agreements are multiplied by; 1 in the paper. With many in capsules for each out
            capsule, 1 leaves the couplings even (docs/explanation/routing.md).

    Returns:
        Poses of norm below 1; activations, their norms, in [0, 1); the last iteration's couplings, whose rows sum to 1.
        All in the dtype of `votes`.

    Raises:
        ValueError: `iterations` is not a Python int of at least 1, or a shape does not fit.
    """
    return route_checked(votes, in_activations, iterations, couple_by_softmax, agreement_scale)


@dataclass(frozen=True)
class Dynamic(ByLearnableAgreement):
    """The description of `dynamic_routing`."""

    couple: ClassVar = staticmethod(couple_by_softmax)


ROUTING = Dynamic
