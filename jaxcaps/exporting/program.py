"""All that `predict` says of a picture, as one function of stored pictures with the weights inside."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import UInt8

from jaxcaps.inference.model import TrainedClassifier
from jaxcaps.tasks.base import whole_pictures
from jaxcaps.training.state import with_parameters

Answer = dict[str, Array]


def program(model: TrainedClassifier) -> Callable[[UInt8[Array, "batch side side channels"]], Answer]:
    """Returns a pure function of pictures.

    Args:
        model: a fine-tuned run.

    Returns:
        A function of pictures, uint8 [batch, side, side, channels], where `side` is `stored_side(model)`. It gives

        - `probabilities`: calibrated, float32 [batch, classes];
        - `unfamiliarity`: float32 [batch], the out-of-distribution score; above 1, a picture is unusual;
        - `activations`: of the class capsules, float32 [batch, classes]; absent for a network without capsules.
    """
    # As constants of the program, they belong to no device.
    network = with_parameters(model.modules, jax.tree.map(jnp.asarray, jax.device_get(model.parameters)))
    calibration = model.calibration
    mean, whitening = (jnp.asarray(each, jnp.float32) for each in calibration.familiar)

    def answer(pictures: UInt8[Array, "batch side side channels"]) -> Answer:
        outputs = network.outputs(whole_pictures(pictures, model.image_size))
        logits, features = (each.astype(jnp.float32) for each in outputs[:2])
        centred = jnp.einsum("nf,fk->nk", features - mean[None], whitening, precision=lax.Precision.HIGHEST)
        scores = jnp.linalg.norm(centred, axis=1) / calibration.distance_unit
        if calibration.error_unit is not None:
            scores = jnp.maximum(scores, outputs.errors.astype(jnp.float32) / calibration.error_unit)
        probabilities = jax.nn.softmax(logits / calibration.temperature, axis=-1)
        found = {"probabilities": probabilities, "unfamiliarity": scores}
        if model.norm_scale is not None:
            found["activations"] = logits / model.norm_scale
        return found

    return answer


def stored_side(model: TrainedClassifier) -> int:
    """The side of the pictures that the program takes. The network halves it if `--oversampling` was 2."""
    return model.image_size * model.config.data.oversampling
