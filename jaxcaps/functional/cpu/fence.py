"""Keeps XLA from merging sums and loops that are faster apart on a CPU."""

import operator
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def fence(function: Callable[..., Any], *arguments: Array) -> Any:
    """Computes a function apart from its neighbours, which XLA would otherwise fuse with it.

    XLA fuses the sums of votes into the loops that use them, which then compute the sums many times. Or it finds that
    two sums share votes, and stores the votes. It does not fuse across a branch whose condition it cannot evaluate.

    Pass a function of a module, not a new closure each time: a spelled-out sum takes long to trace, and JAX traces the
    same function once for all arguments of the same shapes.
    """
    function = jax.jit(function, inline=True)

    def never(*arguments: Array) -> Any:
        # Takes part in the arguments' types inside `jax.shard_map`, which zeros alone would not.
        nothing = sum(0 * argument.ravel()[0] for argument in arguments)
        return jax.tree.map(lambda shape: jnp.broadcast_to(nothing, shape.shape), jax.eval_shape(function, *arguments))

    return lax.cond(lax.optimization_barrier(jnp.array(True)), function, never, *arguments)


def spelled_sum(terms: Iterable[Array]) -> Array:
    """Adds terms one by one: XLA's CPU compiler turns such a sum into vector instructions."""
    return reduce(operator.add, terms)
