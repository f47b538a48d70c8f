"""Routing algorithms, one file each: a pure function of one example's votes, and its description for layers.

A file's name is the routing's name in configurations, and it defines the description as `ROUTING`. Adding a routing is
adding one such file.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from data_prep.errors import nearest
from data_prep.registry import Registry
from jaxcaps.functional.routing.base import ParameterSpec, Routed, Routing, RoutingShape, coupling_entropy
from jaxcaps.functional.routing.detached_dynamic import DetachedDynamic, detached_dynamic_routing
from jaxcaps.functional.routing.dynamic import Dynamic, dynamic_routing
from jaxcaps.functional.routing.em import EM, em_patch_routing, em_routing
from jaxcaps.functional.routing.heinsen import Heinsen, heinsen_routing
from jaxcaps.functional.routing.inverted_attention import InvertedAttention, inverted_attention_routing
from jaxcaps.functional.routing.leaky_dynamic import LeakyDynamic, leaky_dynamic_routing
from jaxcaps.functional.routing.self_attention import SelfAttention, self_attention_routing
from jaxcaps.functional.routing.self_routing import SelfRouting, self_routing
from jaxcaps.functional.routing.uniform import Uniform, uniform_routing
from jaxcaps.functional.routing.variational import Variational, variational_routing

ROUTINGS: Registry[type] = Registry("jaxcaps.functional.routing", "ROUTING", what="routing")


def named_routing(name: str, **settings: Any) -> Routing:
    """The routing description of that name, such as `named_routing("em", iterations=2)`.

    Raises:
        ValueError: there is no such routing (the nearest name is given), or it has no such setting.
    """
    if name not in ROUTINGS:
        raise ValueError(f"unknown routing {name!r}{nearest(name, ROUTINGS.names)}")
    try:
        description: Routing = ROUTINGS[name](**settings)
    except TypeError as error:
        raise ValueError(f"routing {name!r}: {error}") from None
    return description


# What layers accept: the name of a routing, its class, a description, or the bare function of an algorithm without
# learned parameters.
GivenRouting = str | type | Callable[..., Routed]


def as_routing(routing: Any) -> Callable[..., Routed]:
    """The routing that a layer is given as a description or a function. A name or a class has its default settings.

    Args:
        routing: a `GivenRouting`.

    Raises:
        ValueError: the name is unknown (the nearest is given), or it is neither of these.
    """
    if isinstance(routing, str):
        return named_routing(routing)
    found: Any = routing() if isinstance(routing, type) else routing
    if not callable(found):
        raise ValueError(
            f"routing={routing!r}: give a description such as EM(), a function of votes, or one of "
            f"{', '.join(ROUTINGS.names)}"
        )
    return found


def routing_settings(routing: str) -> frozenset[str]:
    """The settings that the description of the routing of that name has, such as "iterations"."""
    return frozenset(field.name for field in fields(ROUTINGS[routing]))


__all__ = [
    "EM",
    "ROUTINGS",
    "DetachedDynamic",
    "Dynamic",
    "GivenRouting",
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
    "as_routing",
    "coupling_entropy",
    "detached_dynamic_routing",
    "dynamic_routing",
    "em_patch_routing",
    "em_routing",
    "heinsen_routing",
    "inverted_attention_routing",
    "leaky_dynamic_routing",
    "named_routing",
    "routing_settings",
    "self_attention_routing",
    "self_routing",
    "uniform_routing",
    "variational_routing",
]
