"""Networks that compile soon, and parameters that need no compilation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxcaps.models import Encoder
from jaxcaps.models.networks import NORM_SCALE
from jaxcaps.plan.presets import preset
from jaxcaps.training.state import parameters_of

# The preset `tiny` with the fewest stages.
MODEL = dataclasses.replace(preset("tiny", "ssl").model, extra_convs=3)

# What vectors start from; the others start from 0.
CONSTANTS = {"scale": 1.0, "norm_scale": NORM_SCALE}


def drawn(task):
    """The network of a task, with small random weights from NumPy: initialisers take seconds to compile."""
    graph, state = nnx.split(nnx.eval_shape(lambda: task.init(rngs := nnx.Rngs(0), Encoder(task.model, 16, rngs))))
    numbers = np.random.default_rng(0)

    def draw(path, abstract):
        if abstract.ndim < 2:
            return jnp.full_like(abstract, CONSTANTS.get(str(path[-2].key), 0.0))
        # The last two axes of capsules' weights are those of a transform, the last of others' is the output.
        inputs = abstract.shape[-1] if path[-2].key == "weights" else np.prod(abstract.shape[:-1])
        return jnp.asarray(numbers.normal(0, 0.5 / np.sqrt(inputs), abstract.shape), abstract.dtype)

    return nnx.merge(graph, jax.tree.map_with_path(draw, state))


def random_parameters(shapes: nnx.Module, scale: float = 0.2) -> dict[str, jax.Array]:
    """Parameters by path for layers without arrays: normal, with this standard deviation."""
    numbers = np.random.default_rng(0)
    return {
        path: jnp.asarray(numbers.normal(0, scale, leaf.shape), leaf.dtype)
        for path, leaf in jax.eval_shape(parameters_of, shapes).items()
    }
