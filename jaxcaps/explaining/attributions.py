"""Gradient and occlusion maps: what class scores depend on, without a look at capsules."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.ndimage import gaussian_filter

from jaxcaps.errors import UserError
from jaxcaps.explaining.capsules import Target, index_of
from jaxcaps.explaining.subject import QUICK, Picture, classifier_of, scores_of, subject_of
from jaxcaps.functional import integrated_gradient, occlusion, smooth_gradient
from jaxcaps.inference.model import TrainedEncoder

Filling = Literal["blur", "mean"]
Method = Literal["smooth", "integrated"]
# Standard deviation of the blurred filling, as a share of the picture's side.
BLUR = 1 / 8
# Side of the occluding square and its stride, as shares of the picture's side.
PATCH, STRIDE = 1 / 5, 1 / 15
# Noisy copies, or steps of the integral.
SAMPLES = 32


def gradient_map(
    model: TrainedEncoder,
    picture: Picture,
    target: Target = None,
    *,
    method: Method = "smooth",
    samples: int = SAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """The gradient of a class's logit by the pixels.

    Args:
        model: a classifier.
        picture: one picture, in any form that `model.preprocess` takes.
        target: name or index of the class. Default: the predicted one.
        method: "smooth" for SmoothGrad, absolute values; "integrated" for integrated gradients from the blurred
            picture, signed.
        samples: noisy copies, or steps of the integral.
        seed: of the noise.

    Returns:
        float32 [size, size], of the size of the network's input.

    Raises:
        UserError: the model has no classes or not this one, or there is not exactly one readable picture.
    """
    if method not in ("smooth", "integrated"):
        raise UserError(f"method={method!r}: give 'smooth' or 'integrated'")
    if samples < 1:
        raise UserError(f"samples={samples}: give a number of at least 1")
    classifier_of(model)
    subject = subject_of(model, picture)
    chosen = jnp.asarray(index_of(model, subject, target), jnp.int32)
    gradients = partial(_gradients, subject.graph, subject.state, chosen)
    if method == "smooth":
        return np.asarray(smooth_gradient(gradients, subject.image, jax.random.key(seed), samples=samples))
    return np.asarray(integrated_gradient(gradients, subject.image, filled(subject.image, "blur"), steps=samples))


def occlusion_maps(
    model: TrainedEncoder,
    picture: Picture,
    *,
    patch: int | None = None,
    stride: int | None = None,
    filling: Filling = "blur",
) -> np.ndarray:
    """How far the calibrated probability of each class falls when a sliding square is hidden.

    Args:
        model: a classifier.
        picture: one picture, in any form that `model.preprocess` takes.
        patch: side of the square in pixels of the network's input. Default: a fifth of its side.
        stride: step of the square. Default: a third of its side.
        filling: what the square shows: the "blur"red picture, or the "mean" colour of the picture.

    Returns:
        float32 [classes, size, size] in [-1, 1]; negative where hiding raises the probability.

    Raises:
        UserError: the model has no classes, the square does not fit into the picture, there is no such filling, or
            there is not exactly one readable picture.
    """
    classifier, size = classifier_of(model), model.image_size
    patch = max(1, round(PATCH * size)) if patch is None else patch
    stride = max(1, round(patch * STRIDE / PATCH)) if stride is None else stride
    if not 1 <= stride <= patch <= size:
        raise UserError(
            f"patch={patch}, stride={stride}: the stride must be at least 1 and at most the patch, and the patch at "
            f"most the {size} pixels of the picture"
        )
    subject = subject_of(model, picture)
    hidden = filled(subject.image, filling)
    return np.asarray(occlusion(scores_of(classifier, subject), subject.image, hidden, patch=patch, stride=stride))


def filled(image: jax.Array, filling: Filling) -> jax.Array:
    """What hidden pixels show: the picture strongly blurred, as the start of RISE's insertion, or its mean colour.

    Raises:
        UserError: there is no such filling.
    """
    if filling not in ("blur", "mean"):
        raise UserError(f"filling={filling!r}: give 'blur' or 'mean'")
    pixels = np.asarray(image)
    if filling == "mean":
        return jnp.asarray(np.broadcast_to(pixels.mean(axis=(0, 1)), pixels.shape))
    deviation = BLUR * len(pixels)
    return jnp.asarray(gaussian_filter(pixels, (deviation, deviation, 0), mode="mirror"))


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def _gradients(graph: Any, state: Any, target: jax.Array, images: jax.Array) -> jax.Array:
    """The gradients of a class's logit by the pixels of pictures [batch, size, size, channels]."""
    network = nnx.merge(graph, state)

    def total(images: jax.Array) -> jax.Array:
        return jnp.sum(network.outputs(images).logits.astype(jnp.float32)[:, target])

    found: jax.Array = jax.grad(total)(images)
    return found
