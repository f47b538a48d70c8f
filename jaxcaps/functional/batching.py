"""Maps functions over batches: over tiles of one, over its examples, and over a mesh's shards of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcaps.functional.cpu import choose, tuned_forms_fit
from jaxcaps.functional.cpu.tiling import cpu_tile

T = TypeVar("T")


def over_batch(function: Callable[..., Any], *, tile: int | None) -> Callable[..., Any]:
    """Maps a function of one example over the leading axis of all its arguments.

    Args:
        function: takes arrays, or pytrees of them, of one example. What it closes over, such as weights, is shared.
        tile: how many examples are computed at a time. The reverse pass computes each tile again instead of keeping
            its intermediate results. None, or a tile that holds the whole batch, is `jax.vmap`.

    Returns:
        The function of a batch, which need not be a multiple of the tile. On a mesh, call it inside `jax.shard_map` on
        a device's own examples: XLA gathers the whole batch on every device if the tiled axis is sharded.

    Raises:
        ValueError: `tile` is below 1.
    """
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be at least 1, or None for the whole batch, not {tile!r}")

    def mapped(*arguments: Any) -> Any:
        batch = jax.tree.leaves(arguments)[0].shape[0]
        if tile is None or tile >= batch:
            return jax.vmap(function)(*arguments)
        # The loop keeps XLA from merging the recomputation with the forward pass; no further barrier is needed.
        rematerialised = jax.checkpoint(function, prevent_cse=False)
        return lax.map(lambda example: rematerialised(*example), arguments, batch_size=tile)

    return mapped


def over_examples(
    function: Callable[[Any, Any], T],
    shared: Any,
    examples: Any,
    *,
    axes: int = 1,
    vote_bytes: int,
    fused: Callable[[Any, Any], Callable[[Any, Any], T] | None] | None = None,
) -> T:
    """Maps a layer's function of one example over all batch axes, in the form that is fast on the platform.

    A CPU gets the fused form, if there is one that fits, or the examples in tiles. Every other platform, and a program
    that XLA partitions over several devices, gets the whole batch at once.

    Args:
        function: takes `shared` and one example.
        shared: arrays that all examples share, such as weights.
        examples: arrays with the same batch axes.
        axes: how many leading axes of `examples` are batch axes.
        vote_bytes: bytes of the votes of one example.
        fused: takes `shared` and the examples of a batch with one axis. Returns a function of the same two, the fused
            form, or None where that does not fit.

    Returns:
        What the function returns, with the batch axes leading.
    """

    def of_batch(shared: Any, batch: Any) -> Any:
        return jax.vmap(partial(function, shared))(batch)

    def of_device(shared: Any, examples: Any) -> Any:
        lead = jax.tree.leaves(examples)[0].shape[:axes]
        batch = jax.tree.map(lambda each: each.reshape(-1, *each.shape[axes:]), examples)
        tuned = _tuned(function, shared, batch, vote_bytes, fused)
        result = of_batch(shared, batch) if tuned is None else choose(tuned, of_batch, shared, batch)
        return jax.tree.map(lambda each: each.reshape(*lead, *each.shape[1:]), result)

    result: T = by_shards(of_device, shared, examples, axes=axes)
    return result


def _tuned(
    function: Callable[[Any, Any], Any],
    shared: Any,
    batch: Any,
    vote_bytes: int,
    fused: Callable[[Any, Any], Callable[[Any, Any], Any] | None] | None,
) -> Callable[[Any, Any], Any] | None:
    """The form for a CPU; None where that is the plain one."""
    shape = jax.tree.leaves(batch)[0].shape
    if not tuned_forms_fit(*shape):
        return None
    form = None if fused is None else fused(shared, batch)
    tile = cpu_tile(vote_bytes)
    if form is None and tile < shape[0]:
        return lambda shared, batch: over_batch(partial(function, shared), tile=tile)(batch)
    return form


def by_shards(function: Callable[[Any, Any], T], shared: Any, examples: Any, *, axes: int = 1) -> T:
    """Applies a function of a batch on each device to the device's own examples.

    That is so where the type of the examples says that their batch axes are sharded: on a mesh whose axes are
    `Explicit`, as those of `jax.make_mesh` are. Elsewhere the function is called as it is.

    Args:
        function: takes `shared` and the examples of a batch; its results have the same batch axes.
        shared: arrays that every device has in full.
        examples: arrays with the same batch axes, sharded alike and over these axes only.
        axes: how many leading axes of `examples` are batch axes.
    """
    sharding = jax.typeof(jax.tree.leaves(examples)[0]).sharding
    spec = tuple(sharding.spec)[:axes]
    names = {name for entry in spec if entry is not None for name in (entry if isinstance(entry, tuple) else (entry,))}
    if not names:
        return function(shared, examples)
    split = jax.shard_map(function, mesh=sharding.mesh, in_specs=(P(), P(*spec)), out_specs=P(*spec), axis_names=names)
    result: T = split(shared, examples)
    return result
