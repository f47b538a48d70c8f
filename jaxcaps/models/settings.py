"""Dtypes of a model, and layers that use them."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx

from jaxcaps.config import ModelConfig
from jaxcaps.models import stem


class Dtypes(NamedTuple):
    compute: jnp.dtype
    parameters: jnp.dtype


def dtypes(model: ModelConfig) -> Dtypes:
    """Returns the dtypes of computation and of parameters. With half precision, parameters stay float32."""
    compute = jnp.dtype(model.dtype)
    return Dtypes(compute, jnp.dtype(jnp.float32) if compute == jnp.bfloat16 else compute)


class GroupNorm(stem.GroupNorm):
    """The group normalisation of a model."""

    def __init__(self, width: int, model: ModelConfig, rngs: nnx.Rngs):
        dtype, param_dtype = dtypes(model)
        super().__init__(width, dtype=dtype, param_dtype=param_dtype, rngs=rngs)


def linear(in_features: int, out_features: int, model: ModelConfig, rngs: nnx.Rngs, **settings: Any) -> nnx.Linear:
    """A dense layer in the model's dtypes."""
    dtype, param_dtype = dtypes(model)
    return nnx.Linear(in_features, out_features, dtype=dtype, param_dtype=param_dtype, rngs=rngs, **settings)
