"""The training step: one jitted function over the mesh that donates its state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcaps.data.loader import Batch
from jaxcaps.tasks import Examples, Shard, Task
from jaxcaps.training.mesh import AXIS, over_devices, replicated
from jaxcaps.training.optimizer import norms
from jaxcaps.training.state import Parameters, TrainState, with_parameters

Metrics = dict[str, jax.Array]
LossAndGradients = Callable[[Parameters, Batch, jax.Array, jax.Array, jax.Array], tuple[Metrics, Parameters]]


def loss_and_gradients(task: Task, modules: Any, mesh: Mesh) -> LossAndGradients:
    """Returns a function (parameters, batch, seed, micro-step, progress) -> (metrics, gradients) of the global batch.

    Each device computes the share of its examples, and one reduction sums the shares. The random numbers of an example
    depend only on the seed, the micro-step and its position in the global batch.
    """

    def local(
        parameters: Parameters, batch: Batch, seed: jax.Array, step: jax.Array, progress: jax.Array
    ) -> tuple[Metrics, Parameters]:
        count = batch.label.shape[0]
        positions = lax.axis_index(AXIS) * count + jnp.arange(count, dtype=jnp.int32)
        step_key = jax.random.fold_in(jax.random.key(seed), step)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, positions)
        views = jax.vmap(task.views)(keys, batch.image)
        examples = Examples(batch.label, batch.group, batch.source, batch.valid)

        def loss(parameters: Parameters) -> tuple[jax.Array, Metrics]:
            return task.loss(with_parameters(modules, parameters), views, examples, progress, Shard(AXIS))

        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
        return lax.psum((metrics, gradients), AXIS)

    return over_devices(local, mesh, in_specs=(P(), P(AXIS), P(), P(), P()), out_specs=P())


def make_train_step(
    task: Task, modules: Any, optimizer: optax.MultiSteps, mesh: Mesh, *, micro_steps: int
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Returns the jitted step (state, batch) -> (state, metrics). It donates the state; only the batch is sharded."""
    gradients_of = loss_and_gradients(task, modules, mesh)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        dtype = jnp.result_type(*state.parameters.values())
        progress = state.step.astype(dtype) / jnp.asarray(max(1, micro_steps - 1), dtype)
        metrics, gradients = gradients_of(state.parameters, batch, state.seed, state.step, progress)
        # optax mixes dtypes, which strict promotion rejects.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.parameters)
            parameters = optax.apply_updates(state.parameters, updates)
            metrics |= _norms(gradients, task)
            metrics["skipped"] = optimizer_state.skip_state["should_skip"].astype(jnp.float32)
        return TrainState(state.seed, state.step + 1, parameters, optimizer_state), metrics

    everywhere = replicated(mesh)
    return jax.jit(step, donate_argnums=0, out_shardings=(everywhere, everywhere))


def _norms(gradients: Parameters, task: Task) -> Metrics:
    """Gradient norms: global, by layer group, and by stage of the stem."""
    named = norms(gradients, task.group_of) | norms(gradients, task.layer_of)
    return {"gradient_norm": optax.tree.norm(gradients)} | {
        f"gradient_norm/{name}": norm for name, norm in named.items()
    }


def initial_state(modules_parameters: Parameters, optimizer: optax.MultiSteps, mesh: Mesh, *, seed: int) -> TrainState:
    """Returns the state before the first step, replicated on every device."""
    # Creating dozens of zero arrays in one program takes a tenth of the time.
    start = jax.jit(optimizer.init, compiler_options={"xla_backend_optimization_level": 0})
    with jax.numpy_dtype_promotion("standard"):
        optimizer_state = start(modules_parameters)
    state = TrainState(jnp.asarray(seed, jnp.int32), jnp.zeros((), jnp.int32), modules_parameters, optimizer_state)
    return jax.device_put(state, replicated(mesh))
