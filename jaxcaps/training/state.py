"""All that a run must remember, as one pytree."""

from typing import Any, NamedTuple

import optax
from flax import nnx
from jax import Array

# Parameters by path, e.g. "encoder/stem/0/convolutions/0/kernel": what masks, layer groups, checkpoints, transfer
# and exports all speak of.
Parameters = dict[str, Array]


class TrainState(NamedTuple):
    """Attributes:
    seed: of the run's views, int32; no constant, so that runs that differ in it alone share one compiled step.
    step: micro-steps done, int32.
    parameters: by path.
    optimizer: optax's state.
    """

    seed: Array
    step: Array
    parameters: Parameters
    optimizer: optax.OptState


def parameters_of(module: nnx.Module) -> Parameters:
    """A module's trainable arrays by path."""
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return {"/".join(map(str, path)): variable[...] for path, variable in flat}


def with_parameters(module: Any, parameters: Parameters) -> Any:
    """A copy of `module` (its structure may be abstract) that holds `parameters`; works under `jit` and `grad`."""
    graph, state = nnx.split(module)
    flat = nnx.to_flat_state(state)
    values = {path: variable.replace(parameters["/".join(map(str, path))]) for path, variable in flat}
    return nnx.merge(graph, nnx.from_flat_state(values))
