"""A run's state on disk."""

import jax
import numpy as np

from jaxcaps.presets import preset
from jaxcaps.training.checkpoint import Checkpoints
from jaxcaps.training.mesh import replicated
from jaxcaps.training.optimizer import Length, make_optimizer
from jaxcaps.training.step import initial_state
from tests.training.test_step import mesh_of, network_of


def test_a_run_is_resumed_on_another_number_of_devices(tmp_path):
    """Trap: orbax lays arrays out as they were saved unless it is told the new shardings."""
    config = preset("tiny", "ssl")
    _, parameters = network_of(config)
    with jax.numpy_dtype_promotion("standard"):
        optimizer = make_optimizer(config, Length(micro_steps=4, accumulate=2, updates=2, per_epoch=4))
        states = {n: initial_state(jax.device_put(parameters, replicated(mesh_of(n))), optimizer, mesh_of(n), seed=n)
                  for n in (2, 8)}  # fmt: skip
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(states[2]._replace(step=states[2].step + 3), parameters, {})
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
        np.testing.assert_array_equal(value, parameters[path])
