"""The training state as one pytree."""

from typing import Any, NamedTuple

import optax
from flax import nnx
from jax import Array

# Parameters by path, e.g. "encoder/stem/0/convolutions/0/kernel". Masks, layer groups, checkpoints, transfer and
# exports all use these paths.
Parameters = dict[str, Array]


class TrainState(NamedTuple):
    """Attributes:
    seed: seed of the views, int32. It is an array so that runs that differ only in the seed share one compiled step.
    step: number of micro-steps done, int32.
    parameters: parameters by path.
    optimizer: optax's state.
    """

    seed: Array
    step: Array
    parameters: Parameters
    optimizer: optax.OptState


def parameters_of(module: nnx.Module) -> Parameters:
    """Returns a module's trainable arrays by path."""
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return {"/".join(map(str, path)): variable[...] for path, variable in flat}


def with_parameters(module: Any, parameters: Parameters) -> Any:
    """Returns a copy of `module`, which may be abstract, with these parameters. Works under `jit` and `grad`."""
    graph, state = nnx.split(module)
    flat = nnx.to_flat_state(state)
    values = {path: variable.replace(parameters["/".join(map(str, path))]) for path, variable in flat}
    return nnx.merge(graph, nnx.from_flat_state(values))
