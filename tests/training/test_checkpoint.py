"""Checkpoints of a run."""

import shutil

import jax
import numpy as np
import pytest

from jaxcaps.errors import UserError
from jaxcaps.plan.length import Length
from jaxcaps.plan.presets import preset
from jaxcaps.training.checkpoint import Checkpoints, read_parameters
from jaxcaps.training.mesh import replicated
from jaxcaps.training.optimizer import make_optimizer
from jaxcaps.training.step import initial_state
from tests.training.test_step import mesh_of

# Checkpoints are alike for all networks, and these arrays need no compilation.
PARAMETERS = {
    path: np.random.default_rng(0).standard_normal(shape, np.float32)
    for path, shape in {
        "encoder/stem/0/convolutions/0/kernel": (3, 3, 3, 8),
        "encoder/primary/convolution/bias": (32,),
        "latent_capsules/weights": (36, 4, 16, 8),
    }.items()
}


def test_a_damaged_checkpoint_is_named_with_a_remedy(tmp_path):
    config = preset("tiny", "ssl")
    mesh = mesh_of(1)
    with jax.numpy_dtype_promotion("standard"):
        optimizer = make_optimizer(config, Length(micro_steps=4, accumulate=1, updates=4, per_epoch=4))
        state = initial_state(jax.device_put(PARAMETERS, replicated(mesh)), optimizer, mesh, seed=0)
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state._replace(step=state.step + step), None, {})
    # The state after an interrupted copy.
    for path in (tmp_path / "checkpoints" / "2").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    complaint = r"checkpoints/2 cannot be read as a checkpoint; remove it to resume from micro-step 1"
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match=complaint):
        checkpoints.restore(state)
    with pytest.raises(UserError, match=complaint):
        read_parameters(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "2")
    with Checkpoints(tmp_path) as checkpoints:
        assert int(checkpoints.restore(state).state.step) == 1


def test_a_run_is_resumed_on_another_number_of_devices(tmp_path):
    """Orbax restores arrays with their saved shardings unless it gets new ones."""
    config = preset("tiny", "ssl")
    with jax.numpy_dtype_promotion("standard"):
        optimizer = make_optimizer(config, Length(micro_steps=4, accumulate=2, updates=2, per_epoch=4))
        states = {n: initial_state(jax.device_put(PARAMETERS, replicated(mesh_of(n))), optimizer, mesh_of(n), seed=n)
                  for n in (2, 8)}  # fmt: skip
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(states[2]._replace(step=states[2].step + 3), PARAMETERS, {})
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(states[8])
    assert int(restored.state.step) == 3
    expected = states[8]._replace(step=restored.state.step)
    assert jax.tree.structure(restored.state) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(restored.state), jax.tree.leaves(expected), strict=True):
        assert one.sharding.is_equivalent_to(other.sharding, one.ndim)
        if not jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(one, other)
    for path, value in restored.best.items():
        assert value.sharding.device_set == set(jax.devices()[:8])
        np.testing.assert_array_equal(value, PARAMETERS[path])
