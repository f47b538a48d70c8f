"""Encoders as single safetensors files, with the metadata needed to use them in the header.

The header holds `config` (the configuration of the pre-training, JSON), `learnt_from` (the contents of the training
pictures as `jaxcaps.data.reading.content` names them, JSON), `version`, and `preparation` (the steps of `data_prep`,
JSON) if it made the pictures. Files published with the library are in `jaxcaps/pretrained`, each with its model card.
This module does not import jax.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.pipeline.applying import FittedSteps
from jaxcaps.errors import UserError, nearest
from jaxcaps.plan.config import Config, recorded_config, shareable

if TYPE_CHECKING:
    import numpy as np

PUBLISHED = Path(__file__).parent / "pretrained"
PREFIX = "pretrained:"
SUFFIX = ".safetensors"


class Header(NamedTuple):
    """Attributes:
    config: configuration of the pre-training. Paths of data and weights are reduced to their last part.
    learnt_from: contents of the training pictures.
    prepared: the steps with which `data_prep` made them, or None.
    """

    config: Config
    learnt_from: frozenset[str]
    prepared: FittedSteps | None


def published() -> tuple[str, ...]:
    """Returns the names of the encoders that come with the library."""
    return tuple(sorted(path.stem for path in PUBLISHED.glob(f"*{SUFFIX}")))


def encoder_file(restore: str) -> Path | None:
    """Returns the file that `--restore` names (`pretrained:NAME` or `FILE.safetensors`), or None for a run folder.

    Raises:
        UserError: the encoder or file does not exist.
    """
    if restore.startswith(PREFIX):
        name = restore.removeprefix(PREFIX)
        path = PUBLISHED / f"{name}{SUFFIX}"
        if not path.is_file():
            raise UserError(f"--restore={restore}: no such encoder{nearest(name, published())}")
        return path
    if restore.endswith(SUFFIX):
        path = Path(restore).expanduser()
        if not path.is_file():
            raise UserError(f"--restore={restore}: no such file; check the path")
        return path
    return None


def write_encoder(
    path: Path,
    encoder: Mapping[str, np.ndarray],
    config: Config,
    learnt_from: frozenset[str],
    prepared: FittedSteps | None = None,
) -> None:
    """Writes the parameters of an encoder and the header.

    Args:
        path: the file to write.
        encoder: parameters by path, {"encoder/...": array}.
        config: configuration of the pre-training.
        learnt_from: contents of the training pictures.
        prepared: the steps with which `data_prep` made them, or None.
    """
    import numpy as np
    from safetensors.numpy import save_file

    from jaxcaps import __version__

    metadata = {
        "version": __version__,
        "config": json.dumps(shareable(config)),
        "learnt_from": json.dumps(sorted(learnt_from)),
    }
    if prepared is not None:
        metadata["preparation"] = json.dumps(prepared.to_dict())
    save_file({name: np.ascontiguousarray(value) for name, value in encoder.items()}, path, metadata=metadata)


def read_header(path: Path) -> Header:
    """
    Raises:
        UserError: the file is not a safetensors file or lacks the header.
    """
    metadata = read_safetensors(path)[0]
    missing = [name for name in ("config", "learnt_from") if name not in metadata]
    if missing:
        raise UserError(f"{path}: its header has no {' and no '.join(missing)}; export it again from its run")
    try:
        config, learnt_from = (json.loads(metadata[name]) for name in ("config", "learnt_from"))
    except ValueError as error:
        raise UserError(f"{path}: its header is damaged: {error}; export it again from its run") from None
    if not isinstance(config, dict) or not isinstance(learnt_from, list):
        raise UserError(
            f"{path}: its header is damaged: config must be a mapping and learnt_from a list; export it again from its "
            "run"
        )
    steps = metadata.get("preparation")
    try:
        prepared = None if steps is None else FittedSteps.from_dict(json.loads(steps))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: its preparation is not one of this version: {error!r}; train it again") from None
    return Header(recorded_config(config, f"the header of {path}"), frozenset(map(str, learnt_from)), prepared)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the parameters by path.

    Raises:
        UserError: the file is not a safetensors file.
    """
    return read_safetensors(path)[1]


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Reads the metadata and the arrays.

    Raises:
        UserError: the file is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, arrays
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as a safetensors file: {error}; export or download it again") from None
