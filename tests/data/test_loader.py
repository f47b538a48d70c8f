import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcaps.data import loader as loader_module
from jaxcaps.data.dataset import Split
from jaxcaps.data.decoding import to_square
from jaxcaps.data.loader import Loader
from jaxcaps.data.sampling import balanced, in_order, shuffled

COUNT, BATCH = 37, 16


class Arrays:
    """A source of pictures in memory."""

    items = ()

    def __init__(self, pictures):
        self.pictures = pictures

    def read(self, index):
        return self.pictures[index]


def make_split(*, resident, count=COUNT, channels=3):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (count + 5, 4, 4, 3), np.uint8)
    rows = np.arange(count) + 5
    return Split(
        names=tuple(map(str, range(count))),
        labels=rng.integers(0, 3, count).astype(np.int32),
        groups=rng.integers(0, 9, count).astype(np.int32),
        has_groups=True,
        images=np.stack([to_square(pictures[row], 4, channels) for row in rows]) if resident else None,
        source=Arrays(pictures),
        rows=rows,
        image_size=4,
        contents=rows,
        channels=channels,
    )


def mesh_of(devices):
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def as_arrays(loader):
    return [tuple(np.asarray(value) for value in batch) for batch in loader]


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
@pytest.mark.parametrize("kind", ["shuffled", "balanced", "in order"])
def test_batches_hold_what_the_order_says_on_any_number_of_devices(kind, resident, devices):
    split = make_split(resident=resident)
    order = {
        "shuffled": shuffled(COUNT, BATCH, 7),
        "balanced": balanced(split.labels, BATCH, 7),
        "in order": in_order(np.arange(COUNT), BATCH),
    }[kind]
    batches = as_arrays(Loader(split, order, mesh_of(devices), start=0, stop=3))
    assert len(batches) == 3
    for step, (image, label, group, source, valid) in enumerate(batches):
        indices, expected_valid = order(step)
        np.testing.assert_array_equal(image, np.stack([split.read(index) for index in indices]))
        np.testing.assert_array_equal(label, split.labels[indices])
        np.testing.assert_array_equal(group, split.groups[indices])
        np.testing.assert_array_equal(source, indices)
        np.testing.assert_array_equal(valid, expected_valid)
        assert (image.dtype, label.dtype, group.dtype, source.dtype, valid.dtype) == (
            np.uint8, np.int32, np.int32, np.int32, bool,
        )  # fmt: skip


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
def test_a_later_start_continues_the_same_stream(resident):
    split, mesh, order = make_split(resident=resident), mesh_of(8), shuffled(COUNT, BATCH, 0)
    whole, rest = Loader(split, order, mesh, start=0, stop=6), Loader(split, order, mesh, start=4, stop=6)
    assert len(rest) == 2
    for expected, found in zip(as_arrays(whole)[4:], as_arrays(rest), strict=True):
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
def test_batches_are_sharded_over_the_data_axis(resident):
    mesh = mesh_of(8)
    (batch,) = Loader(make_split(resident=resident), in_order(np.arange(COUNT), BATCH), mesh, start=0, stop=1)
    for value in batch:
        assert value.sharding.is_equivalent_to(NamedSharding(mesh, P("data")), value.ndim)


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
def test_a_loader_can_be_stopped_early_repeated_and_empty(resident):
    split, mesh, order = make_split(resident=resident), mesh_of(1), shuffled(COUNT, BATCH, 0)
    loader = Loader(split, order, mesh, start=0, stop=50)
    first = next(iter(loader))
    again = next(iter(loader))
    np.testing.assert_array_equal(first.source, again.source)
    assert as_arrays(Loader(split, order, mesh, start=3, stop=3)) == []


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
def test_batches_have_the_channels_of_the_split(resident):
    split = make_split(resident=resident, channels=1)
    (batch,) = Loader(split, in_order(np.arange(COUNT), BATCH), mesh_of(1), start=0, stop=1)
    assert batch.image.shape == (BATCH, 4, 4, 1)
    np.testing.assert_array_equal(batch.image[3], split.read(3))


def test_loaders_of_a_split_in_memory_share_one_copy_that_is_freed_with_it():
    split, mesh = make_split(resident=True), mesh_of(8)
    before = len(loader_module._placed)
    for order in (shuffled(COUNT, BATCH, 0), in_order(np.arange(COUNT), BATCH)):
        next(iter(Loader(split, order, mesh, start=0, stop=1)))
    first = loader_module._place(split, mesh).images
    assert loader_module._place(split, mesh).images is first
    assert len(loader_module._placed) == before + 1
    del split
    assert len(loader_module._placed) == before


def test_gathering_a_batch_takes_no_communication_between_devices():
    split, mesh = make_split(resident=True), mesh_of(8)
    indices = jax.device_put(np.arange(BATCH, dtype=np.int32), NamedSharding(mesh, P("data")))
    compiled = loader_module._gather(mesh).lower(loader_module._place(split, mesh), indices).compile().as_text()
    assert f"u8[{BATCH // 8},4,4,3]" in compiled
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter"):
        assert collective not in compiled


def test_a_process_reads_only_the_pictures_of_its_own_devices(monkeypatch):
    """Simulates the second of two processes, whose positions are the upper half."""
    split, mesh, order = make_split(resident=False), mesh_of(8), shuffled(COUNT, BATCH, 0)
    loader = Loader(split, order, mesh, start=0, stop=1)
    np.testing.assert_array_equal(loader._positions(), np.arange(BATCH))
    upper = np.arange(BATCH // 2, BATCH)
    read = []
    monkeypatch.setattr(Loader, "_positions", lambda self: upper)
    monkeypatch.setattr(Split, "read", lambda self, index: read.append(index) or np.zeros((4, 4, 3), np.uint8))
    monkeypatch.setattr(Loader, "_spread_own", lambda self, values, positions: (values.shape, positions))
    (batch,) = loader
    assert batch.image[0] == (len(upper), 4, 4, 3)
    assert sorted(read) == sorted(order(0)[0][upper].tolist())


def test_a_picture_that_vanishes_while_streaming_stops_the_run_by_name():
    from jaxcaps.data.decoding import BadImage
    from jaxcaps.errors import UserError

    class Vanished(Arrays):
        def read(self, index):
            raise BadImage("no such file")

    split = dataclasses.replace(make_split(resident=False), source=Vanished(None))
    with pytest.raises(UserError, match="can no longer be read: no such file"):
        next(iter(Loader(split, in_order(np.arange(COUNT), BATCH), mesh_of(1), start=0, stop=1)))
