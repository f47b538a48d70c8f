"""The diagnosis of a pre-trained network: hand-worked values, and a warning for each problem."""

import copy
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcaps.plan.presets import preset
from jaxcaps.tasks import Examples, Shard
from jaxcaps.tasks.pretraining.inpaint import ContrastAndInpainting
from jaxcaps.training.diagnosis import _capsules, _masked_pixels, _rank, _saturation, diagnose, warnings
from jaxcaps.training.state import parameters_of, with_parameters
from tests.marks import slow
from tests.networks import MODEL, drawn

PICTURES, AT_A_TIME = 4, 2


class Pictures:
    """A split of random pictures."""

    images = np.random.default_rng(0).integers(0, 256, (PICTURES, 16, 16, 3), np.uint8)
    groups = np.arange(PICTURES, dtype=np.int32)

    def __init__(self, count=PICTURES):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, index):
        return self.images[index]


@functools.cache
def task_and_network():
    config = preset("tiny", "ssl")
    task = ContrastAndInpainting(MODEL, config.augmentation, 16, config.inpaint)
    return task, drawn(task)


@functools.cache
def findings_of(change=""):
    """Diagnoses a network with the parameters whose path starts with `change` set to 0."""
    task, network = task_and_network()
    parameters = {
        path: jnp.zeros_like(value) if change and path.startswith(change) else value
        for path, value in parameters_of(network).items()
    }
    return diagnose(task, network, parameters, Pictures(), AT_A_TIME, {})


@pytest.mark.slow
def test_gradients_and_reconstructions_are_those_of_the_loss_itself():
    task, network = task_and_network()
    parameters = parameters_of(network)
    chosen = np.random.default_rng(0).permutation(PICTURES).reshape(-1, AT_A_TIME)

    @jax.jit
    def by_hand(parameters, images, groups, number):
        key = jax.random.fold_in(jax.random.key(0), number)
        views = jax.vmap(task.views)(jax.random.split(key, AT_A_TIME), images)
        numbers = jnp.arange(AT_A_TIME)
        examples = Examples(numbers, groups, numbers, numbers >= 0)

        def loss(parameters):
            return task.loss(with_parameters(network, parameters), views, examples, jnp.float32(1), Shard())

        gradients, metrics = jax.grad(loss, has_aux=True)(parameters)
        # Another picture's poses: those of the previous view.
        modules = with_parameters(network, parameters)
        seen = jnp.concatenate([jnp.where(views.mask[:, i, ..., None], 0.5, views.image[:, i]) for i in range(2)])
        encoded = modules.encoder(seen)
        poses = modules.latent_capsules(encoded.poses).poses
        image, mask = (jnp.concatenate([each[:, 0], each[:, 1]]) for each in views[:2])
        made = modules.decoder(poses[jnp.arange(-1, 2 * AT_A_TIME - 1)], encoded.maps)
        errors = jnp.abs(made - image).mean(-1)
        shares = [each.astype(jnp.float32) for each in (mask, ~mask)]
        hidden, visible = (jnp.sum(errors * each, (1, 2)) / jnp.sum(each, (1, 2)) for each in shares)
        return gradients, metrics, jnp.mean(0.9 * hidden + 0.1 * visible)

    batches = [
        by_hand(parameters, Pictures.images[part], Pictures.groups[part], number) for number, part in enumerate(chosen)
    ]
    findings = findings_of()
    for layer in ("stem/0", "primary", "routing", "head", "decoder"):
        own = [path for path in parameters if ContrastAndInpainting.layer_of(path) == layer]
        weights, *norms = (
            np.sqrt(sum(np.sum(np.square(arrays[path])) for path in own))
            for arrays in (parameters, *(gradients for gradients, _, _ in batches))
        )
        np.testing.assert_allclose(findings["gradient_over_weight"][layer], np.mean(norms) / weights, rtol=1e-3)
    assert findings["pictures"] == PICTURES
    assert findings["reconstruction"]["term"] == "inpainting"
    error, entropy = (np.mean([each[1][name] for each in batches]) for name in ("inpainting", "coupling_entropy"))
    shuffled = np.mean([each[2] for each in batches])
    np.testing.assert_allclose(findings["reconstruction"]["error"], error, rtol=1e-5)
    np.testing.assert_allclose(findings["reconstruction"]["shuffled"], shuffled / error, rtol=1e-4)
    np.testing.assert_allclose(findings["coupling_entropy"], entropy, rtol=1e-5)


def test_uninformative_latent_capsules_are_found():
    findings = findings_of("latent_capsules/")
    assert findings["parts"]["latent_capsules"] == {"activity": 0.0, "dead": 1.0, "saturated": 0.0, "rank": 0.0}
    assert findings["reconstruction"]["shuffled"] == 1.0
    assert findings["coupling_entropy"] > 0.9999
    told = "\n".join(warnings(findings))
    for words in (
        "latent capsules: 100% are dead",
        "latent capsules: collapsed",
        "decoder hardly uses the capsules",
        "couplings are uniform",
        "projection: collapsed",
    ):
        assert words in told
    # Without weights, there is no ratio.
    assert findings["gradient_over_weight"]["routing"] is None
    assert findings["gradient_over_weight"]["stem/0"] == 0
    assert "stem/0: no loss term reaches it at the end of training" in told


HEALTHY = {
    "gradient_over_weight": {"stem/0": 1e-2, "routing": None},
    "coupling_entropy": 0.9,
    "parts": {
        "encoder": {"activity": 0.5, "dead": 0.1, "saturated": 0.1, "rank": 0.3},
        "latent_capsules": {"activity": 0.5, "dead": 0.0, "saturated": 0.0, "rank": 0.3},
        "projection": {"rank": 0.2},
    },
    "saturation": 0.9,
    "masked_pixels": {"network": 0.1, "mean": 0.2, "interpolation": 0.05},
    "reconstruction": {"term": "inpainting", "error": 0.1, "shuffled": 1.5},
}
UNHEALTHY = {
    "stem/0: its gradient is only 1.0e-06": ("gradient_over_weight", "stem/0", 1e-6),
    "50% of the pictures' saturation": ("saturation", 0.4999),
    "primary capsules: 51% are saturated": ("parts", "encoder", "saturated", 0.51),
    "1.0% of the maximum effective rank": ("parts", "encoder", "rank", 0.01),
    "no better than the mean of the visible pixels": ("masked_pixels", "network", 0.2),
    "increase the inpainting by only 5.0%": ("reconstruction", "shuffled", 1.05),
}


@pytest.mark.parametrize("words", UNHEALTHY)
def test_each_problem_gives_one_warning(words):
    assert warnings(HEALTHY) == []
    findings = copy.deepcopy(HEALTHY)
    *where, name, value = UNHEALTHY[words]
    functools.reduce(dict.get, where, findings)[name] = value
    (told,) = warnings(findings)
    assert words in told


def test_activity_is_right_for_half_precision():
    """NumPy accumulates bfloat16 in bfloat16, which stalls at 256 times the addend."""
    activations = np.full((512, 8), 0.5, jnp.bfloat16)
    assert _capsules(np.random.default_rng(0).random((512, 8, 4)), activations)["activity"] == 0.5


def test_missing_measurements_give_no_warning():
    assert (
        warnings(HEALTHY | dict.fromkeys(("saturation", "reconstruction", "coupling_entropy", "masked_pixels"))) == []
    )


def test_effective_rank_by_hand():
    numbers = np.random.default_rng(0)
    one = numbers.normal(size=(50, 1)) * np.arange(1, 11)
    np.testing.assert_allclose(_rank(one), 1 / 10, rtol=1e-6)
    # Two orthogonal directions, with 4/5 and 1/5 of the variance; ten pictures span nine dimensions at most.
    angles = 2 * np.pi * np.arange(10) / 10
    two = np.stack([2 * np.cos(angles), np.sin(angles)] + [np.zeros(10)] * 18, axis=1)
    entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    np.testing.assert_allclose(_rank(two), np.exp(entropy) / 9, rtol=1e-6)
    assert _rank(np.ones((10, 4, 5))) == 0.0


@pytest.mark.parametrize("channels", [1, 3])
def test_masked_pixels_are_compared_with_trivial_fillings(channels):
    # A ramp from 0 to 1 along the columns, with a square masked in its middle.
    picture = np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32)[None, :, None], (16, 16, channels))
    mask = np.zeros((16, 16, 1), bool)
    mask[6:10, 6:10] = True
    seen = np.where(mask, np.float32(0.5), picture)
    filled = np.where(mask, picture + np.float32(0.01), picture)
    made = {"picture": picture[None], "what the encoder sees": seen[None], "in-painted": filled[None]}
    found = _masked_pixels(made)
    assert found["network"] == pytest.approx(0.01, abs=1e-6)
    visible = picture[~mask[..., 0]].mean()
    assert found["mean"] == pytest.approx(np.abs(picture[6:10, 6:10] - visible).mean(), abs=1e-6)
    # Interpolation continues the ramp, up to its steps.
    assert found["interpolation"] < found["mean"] / 2
    assert _masked_pixels(made | {"what the encoder sees": picture[None]}) is None
    assert _masked_pixels({"picture": picture[None]}) is None


def test_saturation_is_a_ratio_of_distances_from_grey_and_none_for_grey_pictures():
    red, grey = (jnp.broadcast_to(jnp.asarray(colour), (2, 4, 4, 3)) for colour in ([0.7, 0.3, 0.3], [0.5, 0.5, 0.5]))
    assert _saturation({"picture": red, "reconstruction": red}) == pytest.approx(1.0)
    assert _saturation({"picture": red, "reconstruction": grey}) == pytest.approx(0.0, abs=1e-3)
    assert _saturation({"picture": grey, "reconstruction": red}) is None
    assert _saturation({}) is None


@pytest.mark.parametrize(("count", "at_a_time"), [(PICTURES, 1), *slow((1, PICTURES))])
def test_shuffled_poses_are_those_of_another_picture(count, at_a_time):
    """Regression: with batches of one picture, the decoder got the picture's own poses or those of its other view."""
    task, network = task_and_network()
    findings = diagnose(task, network, parameters_of(network), Pictures(count), at_a_time, {})
    assert findings["pictures"] == count
    assert (findings["reconstruction"] is None) == (count == 1)
    if count > 1:
        assert findings["reconstruction"] == findings_of()["reconstruction"]


def test_without_a_decoder_there_is_no_reconstruction():
    task, _ = task_and_network()
    task = dataclasses.replace(task, options=dataclasses.replace(task.options, inpaint_weight=0.0))
    network = drawn(task)
    findings = diagnose(task, network, parameters_of(network), Pictures(), AT_A_TIME, {})
    assert findings["reconstruction"] is None
    assert "decoder" not in findings["gradient_over_weight"]
