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
from jaxcaps.encoder_file import encoder_file, read_arrays, read_header
from jaxcaps.errors import UserError
from jaxcaps.models import Encoder
from jaxcaps.plan.config import Config, recorded_config, task_of
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.folder import is_finished, read_config, read_preparation
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


def is_encoder(restore: str) -> bool:
    """Whether `restore` names an encoder: a file, `pretrained:NAME`, or the folder of a pre-training.

    Raises:
        UserError: there is no such file or run.
    """
    return encoder_file(restore) is not None or read_config(Path(restore).expanduser()).stage == "ssl"


def open_classifier(folder: Path, batch_size: int | None = None) -> Opened:
    """Opens a fine-tuned run, with the parameters of its best evaluation.

    Args:
        folder: the run.
        batch_size: images per batch. Default: as in training, or a little more if the devices do not divide it.

    Raises:
        UserError: the folder holds no fine-tuned run with a checkpoint, or the devices do not divide the batch size.
    """
    parameters, meta = read_parameters(folder)
    config = recorded_config(meta["config"], f"the checkpoint in {folder}")
    if config.stage != "finetune":
        raise UserError(f"--restore={folder}: an {config.stage} run has no classes to score; give a fine-tuned one")
    return _network(folder, parameters, config, meta, batch_size)


def open_pretraining(folder: Path, batch_size: int | None = None) -> Opened:
    """Opens the whole network of a finished pre-training that decodes pictures.

    Raises:
        UserError: the folder holds no such pre-training.
    """
    parameters, meta = read_parameters(folder)
    config = recorded_config(meta["config"], f"the checkpoint in {folder}")
    if not is_finished(folder):
        raise UserError(f"{folder}: this pre-training has not finished; repeat its command, which goes on")
    if not task_of(config).decodes_pictures:
        raise UserError(
            f"--restore={folder}: --task={config.task} does not decode its capsules to pictures, so they cannot be "
            "shown; give a fine-tuned run, or a pre-training with --task=inpaint"
        )
    return _network(folder, parameters, config, meta, batch_size)


def open_encoder(restore: str, batch_size: int | None = None) -> Opened:
    """Opens an encoder: `pretrained:NAME`, FILE.safetensors, or the folder of a finished pre-training.

    Raises:
        UserError: there is no such encoder, its run has not finished, or the file is incomplete.
    """
    file = encoder_file(restore)
    if file is None:
        folder = Path(restore).expanduser()
        if not is_finished(folder):
            raise UserError(f"{folder}: this pre-training has not finished; repeat its command, which goes on")
        file = folder / "encoder.safetensors"
    header = read_header(file)
    config = header.config
    _check_precision(config)

    def build() -> Encoder:
        return Encoder(config.model, config.data.image_size, nnx.Rngs(0))

    arrays = {path.removeprefix("encoder/"): jnp.asarray(value) for path, value in read_arrays(file).items()}
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
    return _placed(nnx.eval_shape(build), arrays, config, {}, header.prepared, batch_size)


def _network(
    folder: Path, parameters: Parameters, config: Config, meta: dict[str, Any], batch_size: int | None
) -> Opened:
    """The whole network of a run, without its data."""
    _check_precision(config)
    nothing = Dataset(classes=tuple(meta.get("classes", ())), splits={}, bad_images=(), notes=(), fingerprint="")
    modules, _ = make_modules(config, make_task(config, nothing))
    return _placed(modules, parameters, config, meta, read_preparation(folder), batch_size)


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
