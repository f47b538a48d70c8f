"""The devices of a run, as a mesh with one axis, `data`."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcaps.config import MachineConfig
from jaxcaps.errors import UserError

AXIS = "data"


def connect(machine: MachineConfig) -> None:
    """Connects to the other hosts of the run, if the flags name any. Call it before using jax."""
    if machine.coordinator is not None:
        jax.distributed.initialize(machine.coordinator, machine.num_processes, machine.process_id)


def device_mesh(batch_size: int) -> Mesh:
    """A mesh over the devices of all hosts.

    Raises:
        UserError: the batch size is not a multiple of the number of devices.
    """
    devices = jax.device_count()
    if batch_size % devices:
        raise UserError(f"--batch-size={batch_size} does not divide among {devices} devices; give a multiple of it")
    return jax.make_mesh((devices,), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding with a full copy on every device."""
    return NamedSharding(mesh, P())


def over_devices(function: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """Returns a function in which each device runs `function` on its own part of the batch.

    By default, XLA gathers the whole batch on every device for a `lax.map` over a sharded axis.
    """
    # Varying-axes checking would insert reductions where replicated parameters meet sharded data. The step does one
    # explicit reduction instead.
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
