"""Batches on the devices: global arrays, sharded over the mesh's `data` axis.

A step's batch depends on the sampling order alone: not on the number of devices or hosts, nor on whether pictures are
kept or read again.
"""

import os
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcaps.data.dataset import Split
from jaxcaps.data.decoding import prepare_opencv
from jaxcaps.data.sampling import SamplingOrder

# Batches read ahead when pictures are streamed.
BATCHES_AHEAD = 2


class Batch(NamedTuple):
    """The examples of a step.

    Attributes:
        image: uint8 [batch, height, width, channels].
        label: int32 [batch], -1 where unknown.
        group: int32 [batch], equal for examples of one group.
        source: int32 [batch], the example's index within its split.
        valid: bool [batch], False where the example only fills the batch.
    """

    image: jax.Array
    label: jax.Array
    group: jax.Array
    source: jax.Array
    valid: jax.Array


class _Placed(NamedTuple):
    """A whole split, on every device."""

    images: jax.Array
    labels: jax.Array
    groups: jax.Array


# All loaders of a split share one copy on the devices, which is freed with the split.
_placed: weakref.WeakKeyDictionary[Split, dict[Mesh, _Placed]] = weakref.WeakKeyDictionary()


class Loader:
    """The batches of steps `start` to `stop` - 1.

    A split that is kept in memory is placed on every device once, and each step gathers from it: only indices travel.
    Otherwise Grain reads pictures ahead in threads, each process those of its own devices.

    Args:
        split: the examples.
        order: which of them each step takes. The number of devices must divide its batch size.
        mesh: the devices, with an axis `data`.
        start: the first step.
        stop: the step after the last.
    """

    def __init__(self, split: Split, order: SamplingOrder, mesh: Mesh, *, start: int, stop: int):
        self.split, self.order, self.mesh, self.start, self.stop = split, order, mesh, start, stop

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[Batch]:
        return self._resident() if self.split.images is not None else self._streamed()

    def _resident(self) -> Iterator[Batch]:
        placed = _place(self.split, self.mesh)
        gather = _gather(self.mesh)
        for step in range(self.start, self.stop):
            indices, valid = self.order(step)
            # One transfer per step: indices below 0 are not valid.
            yield gather(placed, self._spread(np.where(valid, indices, -1 - indices)))

    def _streamed(self) -> Iterator[Batch]:
        if not len(self):
            return
        # It takes most of a second to import.
        import grain

        prepare_opencv()
        mine = self._positions()
        # An element is one picture: example number % len(mine) of this process, in step number // len(mine).
        draw = lru_cache(maxsize=2 * BATCHES_AHEAD)(self.order)

        def read(number: Any) -> np.ndarray:
            step, place = divmod(int(number), len(mine))
            indices, _ = draw(self.start + step)
            return self.split.read(int(indices[mine[place]]))

        options = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=BATCHES_AHEAD * len(mine))
        pictures = grain.MapDataset.range(len(self) * len(mine)).map(read).to_iter_dataset(options)
        for step, images in zip(range(self.start, self.stop), pictures.batch(len(mine)), strict=True):
            indices, valid = self.order(step)
            yield Batch(
                image=self._spread_own(images, mine),
                label=self._spread(self.split.labels[indices]),
                group=self._spread(self.split.groups[indices]),
                source=self._spread(indices),
                valid=self._spread(valid),
            )

    @property
    def _sharding(self) -> NamedSharding:
        return NamedSharding(self.mesh, P("data"))

    def _positions(self) -> np.ndarray:
        """The positions in the batch that the devices of this process hold, in order."""
        size = self.order.batch_size
        slices = self._sharding.addressable_devices_indices_map((size,)).values()
        return np.unique(np.concatenate([np.arange(size)[part] for part in slices if part is not None]))

    def _spread(self, values: np.ndarray) -> jax.Array:
        """Shards values that every process has in full."""
        return _global(values, self._sharding)

    def _spread_own(self, values: np.ndarray, positions: np.ndarray) -> jax.Array:
        """Shards values of which this process has those at its own positions."""
        size = self.order.batch_size

        def part(index: Any) -> np.ndarray:
            wanted = np.arange(size)[index[0]]
            first = int(np.searchsorted(positions, wanted[0]))
            return values[first : first + len(wanted)]

        return jax.make_array_from_callback((size, *values.shape[1:]), self._sharding, part)


def _global(values: np.ndarray, sharding: NamedSharding) -> jax.Array:
    # `jax.device_put` would first compare the values between hosts.
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def _place(split: Split, mesh: Mesh) -> _Placed:
    copies = _placed.setdefault(split, {})
    if mesh not in copies:
        sharding = NamedSharding(mesh, P())
        assert split.images is not None
        copies[mesh] = _Placed(
            _global(split.images, sharding), _global(split.labels, sharding), _global(split.groups, sharding)
        )
    return copies[mesh]


@lru_cache(maxsize=8)
def _gather(mesh: Mesh) -> Any:
    """Each device gathers its own examples from its own copy of the split."""

    def gather(placed: _Placed, encoded: jax.Array) -> Batch:
        valid = encoded >= 0
        indices = jnp.where(valid, encoded, -1 - encoded)
        images, labels, groups = (value.at[indices].get(mode="promise_in_bounds") for value in placed)
        return Batch(images, labels, groups, indices, valid)

    return jax.jit(gather, out_shardings=NamedSharding(mesh, P("data")))
