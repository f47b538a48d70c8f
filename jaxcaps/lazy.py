"""JAX, Flax and the packages built on them, imported at first use.

A task is one file with its settings, its declarations and its code. The command line reads the first two of every
task, and `--help` must not wait seconds for JAX. So the code reaches JAX through these names:
`from jaxcaps.lazy import jnp`.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Lazy(ModuleType):
    """Stands for a module until an attribute of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from jax import lax

    from jaxcaps import functional, models
else:
    jax = _Lazy("jax")
    jnp = _Lazy("jax.numpy")
    lax = _Lazy("jax.lax")
    nnx = _Lazy("flax.nnx")
    functional = _Lazy("jaxcaps.functional")
    models = _Lazy("jaxcaps.models")

__all__ = ["functional", "jax", "jnp", "lax", "models", "nnx"]
