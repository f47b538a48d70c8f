"""Opens what training left: the network of a fine-tuned run, and encoders."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from data_prep.pipeline.applying import FittedSteps
from jaxcaps.data.dataset import Dataset
from jaxcaps.errors import UserError
from jaxcaps.models import Encoder
from jaxcaps.plan.config import Config, task_of
from jaxcaps.restoring import Origin, find_origin
from jaxcaps.restoring.run_folder import is_finished
from jaxcaps.restoring.tensor_file import read_tensors
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.mesh import device_mesh, replicated
from jaxcaps.training.setup import make_modules, make_task
from jaxcaps.training.state import Parameters, parameters_of


class Opened(NamedTuple):
    """A trained network.

    Attributes:
        modules: its structure, without arrays.
        parameters: of its best evaluation, on all devices of `mesh`.
        config: of its run.
        meta: of its checkpoint: `classes`, `train_counts`, `fingerprint` and more; empty for an encoder.
        prepared: the steps with which `data_prep` made the pictures it learnt from, or None.
        mesh: of the devices.
        batch_size: images per batch, a multiple of the number of devices.
    """

    modules: Any
    parameters: Parameters
    config: Config
    meta: dict[str, Any]
    prepared: FittedSteps | None
    mesh: Mesh
    batch_size: int


def open_classifier(restore: str | Path | Origin, batch_size: int | None = None) -> Opened:
    """Opens a fine-tuned run, with the parameters of its best evaluation.

    Args:
        restore: the run.
        batch_size: images per batch. Default: as in training, or a little more if the devices do not divide it.

    Raises:
        UserError: there is no fine-tuned run with a checkpoint, or the devices do not divide the batch size.
    """
    origin = find_origin(restore)
    if origin.config.stage != "finetune":
        raise UserError(f"--restore={origin.name}: an {origin.config.stage} run has no classes; give a fine-tuned one")
    return _network(origin, batch_size)


def open_pretraining(restore: str | Path | Origin, batch_size: int | None = None) -> Opened:
    """Opens the whole network of a finished pre-training that decodes pictures.

    Raises:
        UserError: there is no such pre-training, it has not finished, or it is an encoder alone.
    """
    origin = find_origin(restore)
    if not is_finished(origin.folder):
        raise UserError(f"{origin.name}: this pre-training has not finished; repeat its command, which goes on")
    if not task_of(origin.config).decodes_pictures:
        raise UserError(
            f"--restore={origin.name}: --task={origin.config.task} does not decode its capsules to pictures, so they "
            "cannot be shown; give a fine-tuned run, or a pre-training with --task=inpaint"
        )
    return _network(origin, batch_size)


def open_encoder(restore: str | Path | Origin, batch_size: int | None = None) -> Opened:
    """Opens an encoder: `pretrained:NAME`, FILE.safetensors, or a finished pre-training.

    Raises:
        UserError: there is no such encoder, its run has not finished, or the file is incomplete.
    """
    origin = find_origin(restore)
    if origin.is_run and not is_finished(origin.folder):
        raise UserError(f"{origin.name}: this pre-training has not finished; repeat its command, which goes on")
    file = origin.place / "encoder.safetensors" if origin.is_run else origin.place
    config = origin.config
    _check_precision(config)

    def build() -> Encoder:
        return Encoder(config.model, config.data.image_size, nnx.Rngs(0))

    arrays = {path.removeprefix("encoder/"): jnp.asarray(value) for path, value in read_tensors(file).arrays.items()}
    shapes = jax.eval_shape(lambda: parameters_of(build()))
    wanted, found = (
        {path: f"{value.dtype}{list(value.shape)}" for path, value in each.items()} for each in (shapes, arrays)
    )
    wrong = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    if wrong:
        expected, got = (each.get(wrong[0], "none") for each in (wanted, found))
        raise UserError(
            f"{file}: {wrong[0]} is {got}, but its architecture needs {expected} ({len(wrong)} such parameters); "
            "export it again from its run"
        )
    return _placed(nnx.eval_shape(build), arrays, config, {}, origin.prepared, batch_size)


def _network(origin: Origin, batch_size: int | None) -> Opened:
    """The whole network of a run, without its data."""
    config = origin.config
    _check_precision(config)
    parameters, meta = read_parameters(origin)
    nothing = Dataset(classes=tuple(meta.get("classes", ())), splits={}, bad_images=(), notes=(), fingerprint="")
    modules, _ = make_modules(config, make_task(config, nothing))
    return _placed(modules, parameters, config, meta, origin.prepared, batch_size)


def _check_precision(config: Config) -> None:
    if config.model.dtype == "float64":
        jax.config.update("jax_enable_x64", True)


def _placed(
    modules: Any,
    parameters: Parameters,
    config: Config,
    meta: dict[str, Any],
    prepared: FittedSteps | None,
    batch_size: int | None,
) -> Opened:
    if batch_size is None:
        devices = jax.device_count()
        batch_size = -(-config.training.batch_size // devices) * devices
    mesh = device_mesh(batch_size)
    return Opened(modules, jax.device_put(parameters, replicated(mesh)), config, meta, prepared, mesh, batch_size)


def with_data(config: Config, **changes: Any) -> Config:
    """The configuration with other settings of its data."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))
