"""Colourisation: the encoder's input, the values of both losses, and training with them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from skimage.color import lab2rgb, rgb2lab

from jaxcaps.functional import ab_bins, annealed_mean, bin_weights, nearest_bin, soft_bins
from jaxcaps.models import Encoder
from jaxcaps.models.perceptual import random_network
from jaxcaps.plan.presets import preset
from jaxcaps.tasks import Examples, Shard
from jaxcaps.tasks.pretraining.colourise import Colourisation, Views
from jaxcaps.training.state import parameters_of
from tests.marks import slow
from tests.networks import MODEL, drawn

BATCH = 4
WEIGHTS = tuple(np.linspace(0.5, 1.5, 262).tolist())
STILL = dict.fromkeys(("rotation_degrees", "shear_degrees", "translation", "brightness", "contrast", "saturation"), 0.0)
STILL |= {"crop_scale": (1.0, 1.0), "flip": False, "hue": 0.0, "blur_probability": 0.0}


@functools.cache
def task_of(loss):
    config = preset("tiny", "ssl")
    given = {"l1": {"perceptual": random_network()}, "bins": {"bin_weights": WEIGHTS}}[loss]
    colourise = dataclasses.replace(config.colourise, colour_loss=loss, perceptual_strength=0.7)
    augmentation = dataclasses.replace(config.augmentation, **STILL)
    return Colourisation(MODEL, augmentation, 16, colourise, **given)


def images():
    """Colour patches that lightness predicts: brighter ones are redder."""
    numbers = np.random.default_rng(0)
    light = np.kron(numbers.uniform(0.2, 0.8, (BATCH, 4, 4)), np.ones((1, 4, 4)))
    return np.stack([255 * light, 120 * light, 200 - 180 * light], axis=-1).astype(np.uint8)


def examples(valid=BATCH):
    numbers = jnp.arange(BATCH)
    return Examples(label=numbers, group=numbers, source=numbers, valid=numbers < valid)


def initialised(task):
    """The network as a run starts it, for tests that depend on its scale."""
    return nnx.jit(lambda: task.init(rngs := nnx.Rngs(0), Encoder(task.model, 16, rngs)))()


@functools.cache
def views_of(task):
    return jax.jit(jax.vmap(task.views))(jax.random.split(jax.random.key(0), BATCH), jnp.asarray(images()))


@functools.cache
def step_of(task):
    return nnx.jit(lambda modules, views, given: task.loss(modules, views, given, jnp.float32(0), Shard()))


def loss_of(task, modules, views, given=None):
    return step_of(task)(modules, views, examples() if given is None else given)


@nnx.jit
def made_of(modules, lightness):
    encoded = modules.encoder(jnp.repeat(lightness[..., None] / 100, 3, axis=-1))
    return modules.decoder(modules.latent_capsules(encoded.poses).poses)


def made_by(modules, views):
    """Returns the decoder's output for the lightness as three equal channels."""
    return np.asarray(made_of(modules, views.lightness))


def test_a_view_is_the_augmented_picture_in_lab():
    views = views_of(task_of("l1"))
    lab = rgb2lab(images())
    np.testing.assert_allclose(views.lightness, lab[..., 0], atol=1e-3)
    np.testing.assert_allclose(views.ab, lab[..., 1:], atol=1e-3)


@pytest.mark.parametrize(("loss", "skips"), [("bins", True), *slow(("l1", False))])
def test_the_prediction_does_not_depend_on_the_colours(loss, skips):
    task = task_of(loss)
    task = dataclasses.replace(task, model=dataclasses.replace(task.model, decoder_skips=skips))
    modules = initialised(task)
    grey = np.repeat(np.round(255 * lab2rgb(rgb2lab(images()) * [1, 0, 0]))[..., :1], 3, axis=-1).astype(np.uint8)
    coloured, colourless = (task.pictures(modules, jnp.asarray(each)) for each in (images(), grey))
    # Only rounding errors to 8 bits remain of the colours.
    np.testing.assert_allclose(coloured["what the encoder sees"], colourless["what the encoder sees"], atol=0.005)
    np.testing.assert_allclose(coloured["reconstructed"], colourless["reconstructed"], atol=0.03)
    assert np.abs(coloured["picture"] - colourless["picture"]).max() > 0.1


def test_the_l1_loss_is_the_mean_error_over_110_and_the_weighted_perceptual_term():
    task = task_of("l1")
    modules, views = drawn(task), views_of(task)
    loss, metrics = loss_of(task, modules, views)
    ab = 110 * made_by(modules, views)
    error = np.abs(ab - views.ab).mean() / 110
    pictures = [lab2rgb(np.concatenate([views.lightness[..., None], each], axis=-1)) for each in (ab, views.ab)]
    features = jax.jit(task.perceptual)
    made, target = (features(jnp.asarray(each, jnp.float32)) for each in pictures)
    perceptual = np.mean([np.mean(np.square(a - b)) for a, b in zip(made, target, strict=True)])
    np.testing.assert_allclose(metrics["perceptual"], perceptual, rtol=1e-3)
    np.testing.assert_allclose(loss, error + 0.7 * perceptual, rtol=1e-3)
    off, _ = loss_of(dataclasses.replace(task, perceptual=None), modules, views)
    np.testing.assert_allclose(off, error, rtol=1e-5)


def test_the_loss_of_bins_is_the_weighted_cross_entropy():
    task = task_of("bins")
    modules, views = drawn(task), views_of(task)
    loss, metrics = loss_of(task, modules, views)
    logits = made_by(modules, views).astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    entropy = -(np.asarray(jax.jit(jax.vmap(soft_bins))(views.ab)) * log_probabilities).sum(axis=-1)
    weights = np.asarray(WEIGHTS)[np.asarray(jax.jit(jax.vmap(nearest_bin))(views.ab))]
    np.testing.assert_allclose(loss, (weights * entropy).mean(), rtol=1e-4)
    assert metrics["colour_cross_entropy"] == loss


@pytest.mark.parametrize("loss", ["l1", "bins"])
def test_saturation_is_the_ratio_of_mean_chromas_at_every_fourth_pixel(loss):
    task = task_of(loss)
    modules, views = drawn(task), views_of(task)
    _, metrics = loss_of(task, modules, views)
    made = made_by(modules, views)
    ab = 110 * made if loss == "l1" else np.asarray(jax.jit(jax.vmap(annealed_mean))(made))
    mine, theirs = ab[:, ::4, ::4], np.asarray(views.ab)[:, ::4, ::4]
    lengths = [np.linalg.norm(each, axis=-1).mean() for each in (mine, theirs)]
    np.testing.assert_allclose(metrics["colour_saturation"], lengths[0] / lengths[1], rtol=1e-4)
    np.testing.assert_allclose(metrics["colour_error"], np.abs(mine - theirs).mean() / 110, rtol=1e-4)


def test_saturation_of_grey_pictures_is_finite():
    task = task_of("l1")
    modules, views = drawn(task), views_of(task)
    _, metrics = loss_of(task, modules, views._replace(ab=np.zeros_like(views.ab)))
    assert np.isfinite(metrics["colour_saturation"])


@pytest.mark.parametrize("loss", ["l1", "bins"])
def test_padding_does_not_count(loss):
    task = task_of(loss)
    modules, views = drawn(task), views_of(task)
    poisoned = Views(*(np.array(each) for each in views))
    poisoned.lightness[2:], poisoned.ab[2:] = 7, 50
    clean, other = (loss_of(task, modules, each, examples(valid=2))[1] for each in (views, poisoned))
    for name, value in clean.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["l1", "bins"])
def test_initial_colours_are_near_grey_or_equal_and_the_loss_falls(loss):
    task = task_of(loss)
    if loss == "bins":
        counts = np.bincount(np.asarray(jax.vmap(nearest_bin)(views_of(task).ab)).ravel(), minlength=262)
        task = dataclasses.replace(task, bin_weights=tuple(bin_weights(counts).tolist()))
    modules, views = initialised(task), views_of(task)
    logits = made_by(modules, views)
    assert logits.std() < (0.2 if loss == "l1" else 0.5)
    graph, parameters = nnx.split(modules)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(parameters, state):
        def loss(parameters):
            return task.loss(nnx.merge(graph, parameters), views, examples(), jnp.float32(0), Shard())

        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state)
            return optax.apply_updates(parameters, updates), state, metrics

    state, history = optimizer.init(parameters), []
    for _ in range(60):
        parameters, state, metrics = step(parameters, state)
        history.append(jax.device_get(metrics))
    # The cross-entropy cannot fall below the entropy of the soft assignment.
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    assert history[-1]["colour_error"] < 0.7 * history[0]["colour_error"]
    assert 0.5 < history[-1]["colour_saturation"] < 1.5


def test_the_perceptual_network_has_no_parameters():
    paths = set(parameters_of(drawn(task_of("l1"))))
    assert paths
    assert {path.split("/")[0] for path in paths} == {"encoder", "latent_capsules", "decoder"}


def test_each_bin_has_a_logit():
    modules = drawn(task_of("bins"))
    assert made_by(modules, views_of(task_of("bins"))).shape == (BATCH, 16, 16, len(ab_bins().centres))
