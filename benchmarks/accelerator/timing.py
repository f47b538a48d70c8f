"""Times of work that a device does asynchronously, and the rates of the device."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def seconds_per_call(launch: Callable[[], Any], *, rounds: int = 5, least: float = 0.1, most: float = 3.0) -> float:
    """The median time of a call, with calls queued as fast as the device accepts them.

    Args:
        launch: starts the work and returns its arrays.
        rounds: how many times to measure.
        least: seconds of a round, unless one call takes longer.
        most: seconds after which no further round begins.
    """

    def measured(calls: int) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            arrays = launch()
        jax.block_until_ready(arrays)
        return (time.perf_counter() - began) / calls

    measured(1)
    calls = max(1, min(1000, round(least / measured(1))))
    stop = time.perf_counter() + most
    times = [measured(calls)]
    while len(times) < rounds and time.perf_counter() < stop:
        times.append(measured(calls))
    return statistics.median(times)


def matrix_rate(size: int, dtype: str, precision: str | None = None) -> float:
    """Operations per second of a matrix product of random data.

    Args:
        size: side of the matrices.
        dtype: their dtype; bfloat16 matrices have a bfloat16 product, accumulated in float32.
        precision: of float32 products; None for the default, which is TF32 on an NVIDIA GPU.
    """
    keys = jax.random.split(jax.random.key(0))
    x, y = (jax.random.normal(key, (size, size), jnp.dtype(dtype)) for key in keys)
    product = jax.jit(lambda x, y: jnp.matmul(x, y, precision=precision))
    return 2 * size**3 / seconds_per_call(lambda: product(x, y))


def copy_bandwidth(size: int) -> float:
    """Bytes per second that are read and written where an array of so many bytes is copied."""
    x = jax.random.bits(jax.random.key(0), (size // 4,), jnp.uint32)
    # The bitwise complement: XLA would leave out a plain copy.
    invert = jax.jit(jnp.invert)
    return 2 * size / seconds_per_call(lambda: invert(x))


def step_rate(dtype: str, *, tiny: bool) -> float:
    """The matrix rate that a training step of this dtype could reach at JAX's default precision."""
    return matrix_rate(512 if tiny else 8192, dtype)
