"""A training step of the reference study's network. It takes minutes and gigabytes."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcaps.data.dataset import Dataset
from jaxcaps.data.loader import Batch
from jaxcaps.plan.length import run_length
from jaxcaps.plan.presets import preset
from jaxcaps.training.optimizer import make_optimizer
from jaxcaps.training.setup import make_modules, make_task
from jaxcaps.training.step import initial_state, make_train_step


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["ssl", "finetune"])
def test_one_optimiser_step_of_micro_batch_two(stage):
    config = preset("paper224", stage)
    training = dataclasses.replace(config.training, batch_size=2, effective_batch=2)
    config = dataclasses.replace(config, training=training)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    task = make_task(config, Dataset(("a", "b", "c"), splits={}, bad_images=(), notes=(), fingerprint=""))
    modules, draw = make_modules(config, task)
    parameters = jax.device_get(draw())
    with jax.numpy_dtype_promotion("standard"):
        optimizer = make_optimizer(config, run_length(config, examples=2))
    batch = Batch(
        image=np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8),
        label=np.array([0, 2], np.int32),
        group=np.array([0, 1], np.int32),
        source=np.array([0, 1], np.int32),
        valid=np.ones(2, bool),
    )
    batch = jax.device_put(batch, NamedSharding(mesh, P("data")))
    step = make_train_step(task, modules, optimizer, mesh, micro_steps=2)
    state, metrics = step(initial_state(parameters, optimizer, mesh, seed=0), batch)
    assert np.isfinite(float(metrics["loss"]))
    assert float(metrics["skipped"]) == 0
    changed = {path for path, value in state.parameters.items() if not np.array_equal(value, parameters[path])}
    assert changed == set(parameters)
