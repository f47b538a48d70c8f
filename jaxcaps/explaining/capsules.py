"""The capsules that are explained: those of the classes, or the latent ones of a pre-training."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxcaps.errors import UserError, nearest
from jaxcaps.explaining.subject import QUICK, Picture, Subject, probabilities, subject_of
from jaxcaps.inference.model import TrainedClassifier, TrainedEncoder
from jaxcaps.models import RoutedCapsules, SharedRoutedCapsules

# A class by name, a class or a latent capsule by index, or None for the most active one.
Target = str | int | None


def capsule_poses(model: TrainedEncoder, picture: Picture) -> np.ndarray:
    """The poses of the class capsules, or of the latent capsules of a pre-training: float32 [capsules, dim], a copy.

    Args:
        model: of `jaxcaps.explain.load`.
        picture: one picture, in any form that `model.preprocess` takes.

    Raises:
        UserError: the network has no capsules, or there is not exactly one readable picture.
    """
    check_capsules(model)
    return np.array(_routed(*subject_of(model, picture))[0])


def has_capsules(model: TrainedEncoder) -> bool:
    return bool(model.config.model.architecture != "convnet")


def check_capsules(model: TrainedEncoder) -> None:
    """
    Raises:
        UserError: the network has no capsules.
    """
    if not has_capsules(model):
        raise UserError(
            f"{model.restore} is a convolutional network without capsules; gradient_map and occlusion_maps explain it"
        )


def routed_capsules(network: Any) -> RoutedCapsules | SharedRoutedCapsules:
    """The layer of the class capsules or of the latent capsules."""
    capsules: RoutedCapsules | SharedRoutedCapsules
    capsules = getattr(network, "class_capsules", None) or network.latent_capsules
    return capsules


def capsule_names(model: TrainedEncoder) -> tuple[str, ...]:
    """The classes, or the numbers of latent capsules."""
    if isinstance(model, TrainedClassifier):
        return tuple(map(str, model.classes_))
    return tuple(str(number) for number in range(model.config.model.ssl_capsules))


def capsule_scores(model: TrainedEncoder, subject: Subject) -> np.ndarray:
    """The calibrated probabilities of the classes, or the activations of the latent capsules: float32 [capsules]."""
    if isinstance(model, TrainedClassifier):
        return probabilities(model, subject)
    return np.asarray(_routed(*subject)[1])


def index_of(model: TrainedEncoder, subject: Subject, target: Target) -> int:
    """The index of a class or a latent capsule.

    Raises:
        UserError: there is no such class or capsule.
    """
    if target is None:
        return int(np.argmax(capsule_scores(model, subject)))
    names = capsule_names(model)
    if isinstance(target, str):
        if target not in names:
            raise UserError(f"{target!r} is not a class of {model.restore}{nearest(target, names)}")
        return names.index(target)
    if not 0 <= target < len(names):
        raise UserError(f"{target} is not the index of one of the {len(names)} capsules of {model.restore}")
    return int(target)


@partial(jax.jit, static_argnames="graph", compiler_options=QUICK)
def _routed(graph: Any, state: Any, image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Poses and activations."""
    network = nnx.merge(graph, state)
    routed = routed_capsules(network)(network.encoder(image[None]).poses)
    return routed.poses[0].astype(jnp.float32), routed.activations[0].astype(jnp.float32)
