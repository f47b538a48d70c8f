"""No routing: the baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing._agreement import (
    squashed_sum,
    weighted,
)
from jaxcaps.functional.routing.base import (
    ParameterSpec,
    Routed,
    RoutingShape,
    as_votes,
    check_votes,
    even_couplings,
)
from jaxcaps.functional.squash import safe_norm


def uniform_routing(votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
    """No routing: each in capsule is shared evenly among the out capsules, and the sums are squashed.

    The honest baseline: Paik et al. 2019 (arXiv 1907.13327) and Gu and Tresp 2020 (arXiv 1911.07968) found that routing
    may add nothing to it. It is the first iteration of `dynamic_routing`.

    Args, returns and errors: as `dynamic_routing`; the couplings are 1 / out.
    """
    check_votes(votes, in_activations=(in_activations, "in"))
    wide = at_least_float32(votes)
    couplings = even_couplings(wide)
    poses = squashed_sum(couplings, weighted(wide, in_activations))
    return as_votes(Routed(poses, safe_norm(poses), couplings), votes)


@dataclass(frozen=True)
class Uniform:
    """The description of `uniform_routing`: no learned parameters."""

    needs: ClassVar[tuple[str, ...]] = ()

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {}

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        return uniform_routing(votes, in_activations)


ROUTING = Uniform
