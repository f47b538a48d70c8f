"""Routing algorithms, one file each: a pure function of one example's votes, and its description for layers."""

from jaxcaps.functional.routing.base import ParameterSpec, Routed, Routing, coupling_entropy
from jaxcaps.functional.routing.dynamic import Dynamic, dynamic_routing

__all__ = ["Dynamic", "ParameterSpec", "Routed", "Routing", "coupling_entropy", "dynamic_routing"]
