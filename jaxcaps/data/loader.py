"""Batches on the devices: global arrays, sharded over the `data` axis of the mesh.

The batch of a step depends only on the sampling order, not on the number of devices or hosts, and not on whether
pictures are kept in memory or streamed.
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

# The number of batches to prefetch when pictures are streamed.
BATCHES_AHEAD = 2


class Batch(NamedTuple):
    """The examples of a step.

    Attributes:
        image: uint8 [batch, height, width, channels].
        label: int32 [batch], -1 if unknown.
        group: int32 [batch], equal for examples of one group.
        source: int32 [batch], index of the example in its split.
        valid: bool [batch], False for padding.
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


# All loaders of a split share one copy on the devices. It is freed with the split.
_placed: weakref.WeakKeyDictionary[Split, dict[Mesh, _Placed]] = weakref.WeakKeyDictionary()


class Loader:
    """Yields the batches of steps `start` to `stop` - 1.

    A split in memory is copied to every device once, and each step gathers from that copy, so only indices are
    transferred. Otherwise, Grain prefetches pictures in threads, in each process for its own devices.

    Args:
        split: the examples.
        order: the examples of each step. Its batch size must be a multiple of the number of devices.
        mesh: a mesh of the devices with an axis `data`.
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
            # One transfer per step: negative indices mark padding.
            yield gather(placed, self._spread(np.where(valid, indices, -1 - indices)))

    def _streamed(self) -> Iterator[Batch]:
        if not len(self):
            return
        # The import takes most of a second.
        import grain

        prepare_opencv()
        mine = self._positions()
        # An element is one picture: number % len(mine) is its position in this process, number // len(mine) its step.
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
        """The batch positions on the devices of this process, in order."""
        size = self.order.batch_size
        slices = self._sharding.addressable_devices_indices_map((size,)).values()
        return np.unique(np.concatenate([np.arange(size)[part] for part in slices if part is not None]))

    def _spread(self, values: np.ndarray) -> jax.Array:
        """Shards values that every process holds completely."""
        return _global(values, self._sharding)

    def _spread_own(self, values: np.ndarray, positions: np.ndarray) -> jax.Array:
        """Shards values of which each process holds those at its own positions."""
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
    """Gathers on each device the device's own examples from its own copy of the split."""

    def gather(placed: _Placed, encoded: jax.Array) -> Batch:
        valid = encoded >= 0
        indices = jnp.where(valid, encoded, -1 - encoded)
        images, labels, groups = (value.at[indices].get(mode="promise_in_bounds") for value in placed)
        return Batch(images, labels, groups, indices, valid)

    return jax.jit(gather, out_shardings=NamedSharding(mesh, P("data")))
