"""What is explained: a trained network and one picture as the network takes it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxcaps.errors import UserError
from jaxcaps.inference.model import Pictures, TrainedClassifier, TrainedEncoder
from jaxcaps.inference.pretraining import TrainedPretraining
from jaxcaps.restoring import find_origin

# Programs that run a few times: compiling takes longer than they save by being fast.
QUICK = {"xla_backend_optimization_level": 0}

ENCODER_ALONE = "an encoder has no classes and no decoder; give the folder of its run, or of one fine-tuned from it"


class Subject(NamedTuple):
    """A network and a picture, as the compiled programs take them.

    Attributes:
        graph: the structure of the network, a static argument.
        state: its arrays, on one device.
        image: the picture, float32 [size, size, channels] in [0, 1].
    """

    graph: Any
    state: Any
    image: jax.Array


# One picture in any form that `model.preprocess` takes, or what `subject_of` has made of it.
Picture = Pictures | Subject


def load(restore: str | Path) -> TrainedClassifier | TrainedPretraining:
    """Loads what can be explained: a fine-tuned run, or a pre-training that decodes its latent capsules.

    Raises:
        UserError: there is no such run, it has not finished, or it is an encoder without capsules on top.
    """
    origin = find_origin(restore)
    if origin.config.stage == "finetune":
        return TrainedClassifier(restore)
    if not origin.is_run:
        raise UserError(f"--restore={origin.name}: {ENCODER_ALONE}")
    return TrainedPretraining(restore)


def subject_of(model: TrainedEncoder, picture: Picture) -> Subject:
    """
    Raises:
        UserError: there is not exactly one picture, it cannot be read, or the model is an encoder alone.
    """
    if isinstance(picture, Subject):
        return picture
    if not isinstance(model, TrainedClassifier | TrainedPretraining):
        raise UserError(f"{model.restore}: {ENCODER_ALONE}")
    images = model.preprocess(picture)
    if len(images) != 1:
        raise UserError(f"{len(images)} pictures were given; explain one at a time")
    return Subject(*model.on_one_device, jnp.asarray(images[0]))


def stored_subject(model: TrainedEncoder, stored: np.ndarray) -> Subject:
    """The same for a picture that `model.read` gives, uint8 [side, side, channels]."""
    return Subject(*model.on_one_device, jnp.asarray(model.as_seen(stored[None])[0]))


def classifier_of(model: TrainedEncoder) -> TrainedClassifier:
    """
    Raises:
        UserError: the model has no classes.
    """
    if not isinstance(model, TrainedClassifier):
        raise UserError(f"{model.restore} has no classes, so no class score to explain; fine-tune it and give that run")
    return model


def scores_of(model: TrainedClassifier, subject: Subject) -> Callable[[jax.Array], jax.Array]:
    """The calibrated probabilities as a function of pictures: [batch, size, size, channels] to [batch, classes]."""
    temperature = jnp.asarray(model.calibration.temperature, jnp.float32)
    return partial(_probabilities, subject.graph, subject.state, temperature)


def probabilities(model: TrainedClassifier, subject: Subject) -> np.ndarray:
    """The calibrated probabilities of the picture, float32 [classes]."""
    return np.asarray(scores_of(model, subject)(subject.image[None]))[0]


@partial(jax.jit, static_argnums=0)
def _probabilities(graph: Any, state: Any, temperature: jax.Array, images: jax.Array) -> jax.Array:
    logits = nnx.merge(graph, state).outputs(images).logits.astype(jnp.float32)
    return jax.nn.softmax(logits / temperature)
