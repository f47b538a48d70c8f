"""Orbax checkpoints: one folder per saved micro-step, with everything a run needs to resume.

`checkpoints/<micro-step>/` holds the items `parameters`, `rest` (micro-step and optimiser state), `best` (the
parameters of the best evaluation so far, if the run selects by a metric) and `meta` (JSON: configuration, data
fingerprint, shapes, bookkeeping). Orbax writes to a temporary name and renames it, so an interrupted save never leaves
a partial checkpoint.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from jaxcaps.config import to_dict
from jaxcaps.errors import UserError
from jaxcaps.restoring import Origin, find_origin
from jaxcaps.restoring.run_folder import is_finished
from jaxcaps.training.state import Parameters, TrainState

log = logging.getLogger("jaxcaps")

# Orbax logs every phase of a save.
logging.getLogger("absl").setLevel(logging.ERROR)


class Restored(NamedTuple):
    state: TrainState
    best: Parameters | None
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run folder. A context manager, because saves are asynchronous."""

    def __init__(self, folder: Path):
        # Keep two, so that one is complete while the next is written.
        options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True)
        self.manager = ocp.CheckpointManager((folder / "checkpoints").resolve(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.manager.wait_until_finished()
        self.manager.close()

    def save(self, state: TrainState, best: Parameters | None, meta: dict[str, Any]) -> None:
        step = int(state.step)
        if step in self.manager.all_steps():
            return
        shapes = {path: [list(value.shape), str(value.dtype)] for path, value in state.parameters.items()}
        items = {
            "parameters": ocp.args.StandardSave(state.parameters),
            "rest": ocp.args.StandardSave((state.step, state.optimizer)),
            "meta": ocp.args.JsonSave(meta | {"has_best": best is not None, "shapes": shapes}),
        }
        if best is not None:
            items["best"] = ocp.args.StandardSave(best)
        self.manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> Restored | None:
        """Returns the newest checkpoint with the shapes, dtypes and shardings of `like`, or None if there is none.

        Raises:
            UserError: the checkpoint is damaged.
        """
        step = self.manager.latest_step()
        if step is None:
            return None
        with _whole(self.manager, step):
            meta = _read_meta(self.manager, step)
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
            items = {
                "parameters": ocp.args.StandardRestore(abstract.parameters),
                "rest": ocp.args.StandardRestore((abstract.step, abstract.optimizer)),
            }
            if meta["has_best"]:
                items["best"] = ocp.args.StandardRestore(abstract.parameters)
            restored = self.manager.restore(step, args=ocp.args.Composite(**items))
        state_step, optimizer = restored["rest"]
        state = TrainState(like.seed, state_step, restored["parameters"], optimizer)
        return Restored(state, restored["best"] if meta["has_best"] else None, meta)


def read_parameters(restore: str | Path | Origin) -> tuple[Parameters, dict[str, Any]]:
    """Returns the parameters of a run (of its best evaluation, else the last ones) and its metadata.

    The arrays are placed on this process's first device.

    Args:
        restore: what `find_origin` finds.

    Raises:
        UserError: there is no such run, it has no checkpoint, or its checkpoint is damaged.
    """
    origin = find_origin(restore)
    device = jax.local_devices()[0]
    if origin.stored is not None:
        stored = origin.stored
        return jax.device_put(stored.parameters, device), {**stored.more, "config": to_dict(stored.config)}
    folder = origin.folder
    checkpoints = folder / "checkpoints"
    if not any(path.name.isdigit() for path in checkpoints.glob("*")):
        raise UserError(f"--restore={folder}: no checkpoint in {checkpoints}; wait until that run has written one")
    with ocp.CheckpointManager(checkpoints.resolve()) as manager:
        step = max(manager.all_steps())
        with _whole(manager, step):
            meta = _read_meta(manager, step)
            item = "best" if meta["has_best"] else "parameters"
            place = SingleDeviceSharding(device)
            like = {
                path: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
                for path, (shape, dtype) in meta["shapes"].items()
            }
            restored = manager.restore(step, args=ocp.args.Composite(**{item: ocp.args.StandardRestore(like)}))
        if not is_finished(folder):
            log.warning("%s has not finished; using its checkpoint from micro-step %d", folder, step)
        parameters: Parameters = restored[item]
        return parameters, meta


@contextmanager
def _whole(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Turns a read error into a UserError that names the checkpoint and a remedy."""
    try:
        yield
    except (KeyError, ValueError, OSError) as error:
        others = sorted(set(manager.all_steps()) - {step})
        way = f"remove it to resume from micro-step {others[-1]}" if others else "it is the only one: start a new run"
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{manager.directory}/{step} cannot be read as a checkpoint; {way} ({reason})") from error


def _read_meta(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    meta: dict[str, Any] = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
    return meta
