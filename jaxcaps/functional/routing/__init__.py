"""Routing algorithms, one file a family: pure functions of one example's votes, and their descriptions for layers."""

import difflib
from typing import Any

from jaxcaps.functional.routing.attention import (
    InvertedAttention,
    SelfAttention,
    inverted_attention_routing,
    self_attention_routing,
)
from jaxcaps.functional.routing.base import ParameterSpec, Routed, Routing, RoutingShape, coupling_entropy
from jaxcaps.functional.routing.dynamic import (
    DetachedDynamic,
    Dynamic,
    LeakyDynamic,
    Uniform,
    detached_dynamic_routing,
    dynamic_routing,
    leaky_dynamic_routing,
    uniform_routing,
)
from jaxcaps.functional.routing.em import EM, em_patch_routing, em_routing
from jaxcaps.functional.routing.gated import SelfRouting, self_routing
from jaxcaps.functional.routing.heinsen import Heinsen, heinsen_routing
from jaxcaps.functional.routing.variational import Variational, variational_routing

# The names that configurations and flags use.
ROUTINGS: dict[str, type] = {
    "dynamic": Dynamic,
    "detached-dynamic": DetachedDynamic,
    "leaky-dynamic": LeakyDynamic,
    "em": EM,
    "variational": Variational,
    "self-attention": SelfAttention,
    "inverted-attention": InvertedAttention,
    "self-routing": SelfRouting,
    "heinsen": Heinsen,
    "uniform": Uniform,
}


def named_routing(name: str, **settings: Any) -> Routing:
    """The routing description of that name, such as `named_routing("em", iterations=2)`.

    Raises:
        ValueError: no such name (the nearest is given), or a setting that it does not have.
    """
    if name not in ROUTINGS:
        near = difflib.get_close_matches(name, ROUTINGS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"routing {name!r} is unknown: {hint}there are {', '.join(ROUTINGS)}")
    try:
        description: Routing = ROUTINGS[name](**settings)
    except TypeError as error:
        raise ValueError(f"routing {name!r}: {error}") from None
    return description


__all__ = [
    "EM",
    "ROUTINGS",
    "DetachedDynamic",
    "Dynamic",
    "Heinsen",
    "InvertedAttention",
    "LeakyDynamic",
    "ParameterSpec",
    "Routed",
    "Routing",
    "RoutingShape",
    "SelfAttention",
    "SelfRouting",
    "Uniform",
    "Variational",
    "coupling_entropy",
    "detached_dynamic_routing",
    "dynamic_routing",
    "em_patch_routing",
    "em_routing",
    "heinsen_routing",
    "inverted_attention_routing",
    "leaky_dynamic_routing",
    "named_routing",
    "self_attention_routing",
    "self_routing",
    "uniform_routing",
    "variational_routing",
]
