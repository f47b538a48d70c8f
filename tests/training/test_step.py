"""One train step, on one device and on eight, and what the compiled program sends between devices."""

import dataclasses
import functools
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcaps.data.loader import Batch
from jaxcaps.models.perceptual import random_network
from jaxcaps.plan.config import task_of
from jaxcaps.plan.length import run_length
from jaxcaps.plan.presets import preset
from jaxcaps.tasks.pretraining.colourise import Colourisation
from jaxcaps.training.optimizer import make_optimizer
from jaxcaps.training.setup import make_modules
from jaxcaps.training.state import parameters_of
from jaxcaps.training.step import initial_state, loss_and_gradients, make_train_step
from tests.marks import slow
from tests.networks import MODEL, drawn

BATCH = 16


def mesh_of(devices):
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def batch_on(mesh, *, padding=0):
    numbers = np.random.default_rng(0)
    batch = Batch(
        image=numbers.integers(0, 256, (BATCH, 16, 16, 3), np.uint8),
        label=(np.arange(BATCH) % 3).astype(np.int32),
        # Some examples share a group, and one image is drawn twice.
        group=(np.arange(BATCH) // 3).astype(np.int32),
        source=np.maximum(np.arange(BATCH) - 1, 0).astype(np.int32),
        valid=np.arange(BATCH) < BATCH - padding,
    )
    return jax.device_put(batch, NamedSharding(mesh, P("data")))


def config_of(stage, dtype="float32", **parts):
    config = dataclasses.replace(preset("tiny", stage), model=dataclasses.replace(MODEL, dtype=dtype))
    for name, values in parts.items():
        config = dataclasses.replace(config, **{name: dataclasses.replace(getattr(config, name), **values)})
    return config


def task_for(config):
    if (config.stage, config.task) == ("ssl", "colourise"):
        return Colourisation(config.model, config.augmentation, 16, config.colourise, random_network())
    return task_of(config).make(config, SimpleNamespace(classes=("a", "b", "c")))


@functools.cache
def network_of(config):
    """The network's structure, and its parameters as NumPy arrays, committed to no device."""
    task = task_for(config)
    modules, initial = make_modules(config, task)
    # Rounding errors of the gradients of colours are small only near the initial ones, which are near grey.
    parameters = initial() if config.task == "colourise" else parameters_of(drawn(task))
    return modules, jax.device_get(parameters)


@pytest.mark.slow
def test_bfloat16_trains_float32_parameters_close_to_float32():
    results = {}
    for dtype in ("float32", "bfloat16"):
        metrics, gradients = gradients_on(config_of("ssl", dtype), 1)
        assert {gradient.dtype for gradient in gradients.values()} == {np.dtype("float32")}
        results[dtype] = np.concatenate([gradient.ravel() for _, gradient in sorted(gradients.items())])
        assert np.isfinite(metrics["loss"])
    exact, rough = results["float32"], results["bfloat16"]
    assert np.dot(exact, rough) > 0.95 * np.linalg.norm(exact) * np.linalg.norm(rough)


CASES = {
    "ssl": config_of("ssl"),
    "ssl with skips, masked and contrasted primary capsules, learnt weights": config_of(
        "ssl",
        model={"decoder_skips": True},
        inpaint={
            "contrast_on": "primary",
            "loss_weighting": "uncertainty",
            "hidden_capsules": 0.5,
            "capsule_weight": 1.0,
        },
    ),
    "colourise": dataclasses.replace(config_of("ssl"), task="colourise"),
    "vicreg on pooled capsules of a residual stem": dataclasses.replace(
        config_of("ssl", model={"stem": "residual"}, vicreg={"vicreg_input": "pooled"}), task="vicreg"
    ),
    "spread": config_of("finetune"),
    "cross-entropy with reconstruction": config_of(
        "finetune", classify={"loss": "cross-entropy", "reconstruction_weight": 0.5}
    ),
}


def inputs_of(config, devices, padding=0):
    """Parameters, batch, seed, step and progress."""
    _, parameters = network_of(config)
    dtype = next(iter(parameters.values())).dtype
    return parameters, batch_on(mesh_of(devices), padding=padding), np.int32(0), np.int32(5), np.asarray(0.3, dtype)


@functools.cache
def gradients_of(config, devices):
    """The compiled function of the loss and its gradients."""
    modules, _ = network_of(config)
    function = jax.jit(loss_and_gradients(task_for(config), modules, mesh_of(devices)))
    return function.lower(*inputs_of(config, devices)).compile()


def gradients_on(config, devices, padding=0):
    """The parts of the loss and the gradients."""
    return jax.device_get(gradients_of(config, devices)(*inputs_of(config, devices, padding)))


# Padding in the default tests; other losses in the slow ones.
@pytest.mark.parametrize(
    ("case", "padding"),
    [
        ("ssl", 3),
        *slow(*((case, 3) for case in CASES if case != "ssl")),
        *slow(("ssl", 0), ("spread", 0)),
    ],
)
def test_loss_and_gradients_are_the_same_on_one_device_and_on_eight(case, padding):
    (one_metrics, one), (eight_metrics, eight) = (gradients_on(CASES[case], n, padding) for n in (1, 8))
    for name, value in one_metrics.items():
        np.testing.assert_allclose(eight_metrics[name], value, rtol=1e-5, err_msg=name)
    for path, gradient in one.items():
        assert np.linalg.norm(gradient) > 0, path
        assert np.linalg.norm(eight[path] - gradient) <= 1e-5 * np.linalg.norm(gradient), path


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["ssl", "finetune"])
def test_parameters_after_ten_adamw_steps_are_the_same_in_float64(stage):
    # Flax's initialisers and optax mix dtypes when they are handed float64.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        config = config_of(stage, dtype="float64")
        results = []
        for devices in (1, 8):
            mesh, (modules, parameters) = mesh_of(devices), network_of(config)
            length = run_length(config, examples=5 * BATCH)
            with jax.numpy_dtype_promotion("standard"):
                optimizer = make_optimizer(config, length)
            assert {value.dtype for value in parameters.values()} == {np.dtype("float64")}
            state = initial_state(parameters, optimizer, mesh, seed=0)
            step = make_train_step(task_for(config), modules, optimizer, mesh, micro_steps=10)
            for _ in range(10):
                state, _ = step(state, batch_on(mesh))
            results.append(jax.device_get(state.parameters))
        for path, value in results[0].items():
            np.testing.assert_allclose(results[1][path], value, rtol=0, atol=1e-8, err_msg=path)
        moved = max(np.abs(results[0][path] - parameters[path]).max() for path in parameters)
        assert moved > 1e-3


def compiled_step(config, devices):
    mesh, (modules, parameters) = mesh_of(devices), network_of(config)
    with jax.numpy_dtype_promotion("standard"):
        optimizer = make_optimizer(config, run_length(config, examples=64))
    state = initial_state(parameters, optimizer, mesh, seed=0)
    step = make_train_step(task_for(config), modules, optimizer, mesh, micro_steps=10)
    return step.lower(state, batch_on(mesh)).compile()


@pytest.mark.parametrize("case", ["ssl", *slow("spread")])
def test_the_only_collectives_are_the_gradients_reduction_and_the_embeddings_gather(case):
    check_collectives(gradients_of(CASES[case], 8).as_text(), CASES[case])


@pytest.mark.slow
@pytest.mark.parametrize(("case", "tuned"), [("ssl", "0"), ("ssl", "1"), ("spread", "1")])
def test_those_are_the_only_collectives_of_a_whole_step_in_tiles_too(case, tuned, monkeypatch):
    """The trap: a `lax.map` over a sharded batch makes XLA gather the whole batch onto every device."""
    monkeypatch.setenv("JAXCAPS_CPU_KERNELS", tuned)
    # A tile smaller than a device's two examples, so that the map is there to be mistreated.
    monkeypatch.setattr("jaxcaps.functional.batching.cpu_tile", lambda vote_bytes: 1)
    text = compiled_step(CASES[case], 8).as_text()
    assert "while" in text
    check_collectives(text, CASES[case])


def check_collectives(text, config):
    kinds = r"(all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|collective-broadcast)"
    collectives = re.findall(rf"= (.+?) {kinds}(?:-start)?\(", text)
    gathered = [shape for shape, kind in collectives if kind == "all-gather"]
    expected = {"all-reduce", "all-gather"} if config.stage == "ssl" else {"all-reduce"}
    assert {kind for _, kind in collectives} == expected
    # Nothing larger than the embeddings of the global batch is gathered: 16 x 64 floats.
    for shape in gathered:
        sizes = [int(np.prod([int(n) for n in dims.split(",") if n])) for dims in re.findall(r"\[([\d,]*)\]", shape)]
        assert max(sizes) <= BATCH * config.inpaint.projection_dim, shape


@pytest.mark.slow
@pytest.mark.parametrize(("case", "tuned"), [("ssl", "0"), ("ssl", "1"), ("spread", "1")])
def test_each_of_eight_devices_does_an_eighth_of_the_operations(case, tuned, monkeypatch):
    monkeypatch.setenv("JAXCAPS_CPU_KERNELS", tuned)
    flops = [compiled_step(CASES[case], devices).cost_analysis()["flops"] for devices in (1, 8)]
    parameters = sum(value.size for value in network_of(CASES[case])[1].values())
    # AdamW and the norms are done by every device, some 40 operations a parameter, and so is NT-Xent: its products
    # of all pairs of 2n views, forward and twice backward.
    everywhere = 40 * parameters + (3 * 2 * (2 * BATCH) ** 2 * 64 if case == "ssl" else 0)
    assert flops[1] - everywhere < flops[0] / 8 * 1.1


def test_randomness_depends_on_the_position_in_the_global_batch_not_on_the_image():
    """One image drawn twice gets two views; the same step gives the same views again."""
    config = config_of("ssl")
    task = task_for(config)
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))

    @jax.jit
    def seen(image):
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), jnp.arange(2))
        return jax.vmap(task.views, in_axes=(0, None))(keys, image)

    views, again = seen(image), seen(image)
    assert not np.allclose(views.image[0], views.image[1])
    np.testing.assert_array_equal(views.image, again.image)


def test_a_step_that_is_not_finite_leaves_the_parameters_as_they_were(monkeypatch):
    def one_is_nan(parameters, *_):
        return {}, {
            path: jnp.full_like(value, np.nan if "weights" in path else 1) for path, value in parameters.items()
        }

    monkeypatch.setattr("jaxcaps.training.step.loss_and_gradients", lambda *_: one_is_nan)
    parameters = {
        path: np.ones(2, np.float32) for path in ("encoder/primary/convolution/kernel", "class_capsules/weights")
    }
    config, mesh = config_of("finetune"), mesh_of(1)
    with jax.numpy_dtype_promotion("standard"):
        optimizer = make_optimizer(config, run_length(config, examples=64))
    step = make_train_step(task_for(config), None, optimizer, mesh, micro_steps=10)
    state, metrics = step(initial_state(parameters, optimizer, mesh, seed=0), batch_on(mesh))
    assert float(metrics["skipped"]) == 1
    for path, value in jax.device_get(state.parameters).items():
        np.testing.assert_array_equal(value, parameters[path])
    assert optax.tree.get(state.optimizer, "gradient_step") == 0
