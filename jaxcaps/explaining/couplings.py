"""Coupling maps: what the places of a picture give to each class capsule, iteration by iteration."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxcaps.explaining.capsules import check_capsules, routed_capsules
from jaxcaps.explaining.subject import QUICK, Picture, subject_of
from jaxcaps.functional import (
    assigned_activation,
    coupling_entropy,
    place_map,
    safe_norm,
    vote_contributions,
)
from jaxcaps.inference.model import TrainedEncoder
from jaxcaps.models import geometry


class CouplingMaps(NamedTuple):
    """The couplings of the class capsules (latent capsules, for a pre-training) after each iteration of the routing.

    A routing that does not iterate has one iteration. Maps have the size of the network's input.

    Attributes:
        assigned: float32 [iterations, capsules, size, size], couplings times the activations of the primary capsules,
            summed over the capsule types of a place (`jaxcaps.functional.assigned_activation`); not negative for
            couplings that are not.
        contributions: the same of what the weighted votes add to the length of the capsule's pose, signed
            (`jaxcaps.functional.vote_contributions`).
        entropy: float32 [iterations], see `jaxcaps.functional.coupling_entropy`: 1 if couplings are even.
        activations: float32 [iterations, capsules], of the capsules.
    """

    assigned: np.ndarray
    contributions: np.ndarray
    entropy: np.ndarray
    activations: np.ndarray


def coupling_maps(model: TrainedEncoder, picture: Picture) -> CouplingMaps:
    """Follows the couplings of one picture back to its places.

    Args:
        model: of `jaxcaps.explain.load` or `jaxcaps.load`.
        picture: one picture, in any form that `model.preprocess` takes.

    Raises:
        UserError: the network has no capsules, or there is not exactly one readable picture.
    """
    check_capsules(model)
    grid = geometry(model.config.model, model.image_size).grid
    return CouplingMaps(*map(np.asarray, _coupled(*subject_of(model, picture), grid=grid)))


def _prefixes(routing: Any) -> Iterator[Any]:
    """The routing with 1, 2, ... of its iterations: the couplings after each."""
    if not hasattr(routing, "iterations"):
        yield routing
        return
    for count in range(1, routing.iterations + 1):
        yield dataclasses.replace(routing, iterations=count)


@partial(jax.jit, static_argnames=("graph", "grid"), compiler_options=QUICK)
def _coupled(graph: Any, state: Any, image: jax.Array, *, grid: int) -> tuple[jax.Array, ...]:
    network = nnx.merge(graph, state)
    capsules = routed_capsules(network)
    poses = network.encoder(image[None]).poses[0]
    activations = safe_norm(poses)
    votes = capsules.votes(poses)
    weighs = "in_activations" in getattr(capsules.routing, "needs", ())

    def after(routing: Any) -> tuple[jax.Array, ...]:
        capsules.routing = routing
        routed = capsules(poses)
        assigned = assigned_activation(routed.couplings, activations)
        shares = assigned if weighs else routed.couplings
        found = (
            place_map(assigned, grid=grid, side=image.shape[0]),
            place_map(vote_contributions(shares, votes, routed.poses), grid=grid, side=image.shape[0]),
            coupling_entropy(routed.couplings),
            routed.activations,
        )
        return tuple(each.astype(jnp.float32) for each in found)

    return tuple(map(jnp.stack, zip(*map(after, _prefixes(capsules.routing)), strict=True)))
