"""Random parameters for tests in which it does not matter where training starts."""

import jax
import numpy as np
from flax import nnx

from jaxcaps.training.state import parameters_of


def random_parameters(shapes: nnx.Module) -> dict[str, np.ndarray]:
    """Returns parameters by path for a module without arrays. NumPy draws them: initialisers would be compiled."""
    rng = np.random.default_rng(0)
    return {
        path: rng.normal(0, 0.2, leaf.shape).astype(np.float32)
        for path, leaf in jax.eval_shape(parameters_of, shapes).items()
    }
