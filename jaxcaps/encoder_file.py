"""Encoders as single files: safetensors, with what it takes to use them in the header.

The header holds `config` (the configuration of the pre-training, JSON), `learnt_from` (the names of the pictures learnt
from, JSON) and `version`. Files published with the library lie in `jaxcaps/pretrained`, each with its model card.
Nothing here imports jax.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxcaps.config import from_dict, to_dict
from jaxcaps.errors import UserError, nearest
from jaxcaps.plan.config import Config, with_paths

if TYPE_CHECKING:
    import numpy as np

PUBLISHED = Path(__file__).parent / "pretrained"
PREFIX = "pretrained:"
SUFFIX = ".safetensors"


class Header(NamedTuple):
    """Attributes:
    config: of the pre-training; of the paths of its data and weights the last part alone.
    learnt_from: the names of the pictures learnt from.
    """

    config: Config
    learnt_from: frozenset[str]


def published() -> tuple[str, ...]:
    """The names of the encoders that come with the library."""
    return tuple(sorted(path.stem for path in PUBLISHED.glob(f"*{SUFFIX}")))


def encoder_file(restore: str) -> Path | None:
    """The file that `--restore` names: `pretrained:NAME` or `FILE.safetensors`; None for a run folder.

    Raises:
        UserError: no such encoder or file.
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
            raise UserError(f"--restore={restore}: no such file")
        return path
    return None


def write_encoder(path: Path, encoder: Mapping[str, np.ndarray], config: Config, learnt_from: frozenset[str]) -> None:
    """Writes an encoder's parameters by path, and the header.

    Args:
        path: of the file.
        encoder: {"encoder/...": array}.
        config: of the pre-training.
        learnt_from: names of pictures.
    """
    import numpy as np
    from safetensors.numpy import save_file

    from jaxcaps import __version__
    from jaxcaps.data.sources import anonymous

    # Folders are nobody's business, and of no use elsewhere.
    plain = to_dict(with_paths(config, lambda path: Path(path).name)) | {"out": None, "restore": None}
    plain["data"]["data"] = anonymous(config.data.data)
    metadata = {
        "version": __version__,
        "config": json.dumps(plain),
        "learnt_from": json.dumps(sorted(learnt_from)),
    }
    save_file({name: np.ascontiguousarray(value) for name, value in encoder.items()}, path, metadata=metadata)


def read_header(path: Path) -> Header:
    """
    Raises:
        UserError: no safetensors file, or one without the header.
    """
    metadata = _open(path)[0]
    missing = [name for name in ("config", "learnt_from") if name not in metadata]
    if missing:
        raise UserError(f"{path}: its header has no {' and no '.join(missing)}; export it anew from its run")
    try:
        config, learnt_from = (json.loads(metadata[name]) for name in ("config", "learnt_from"))
    except ValueError as error:
        raise UserError(f"{path}: its header is damaged: {error}") from None
    if not isinstance(config, dict) or not isinstance(learnt_from, list):
        raise UserError(f"{path}: its header is damaged: config should be a mapping, learnt_from a list")
    return Header(from_dict(Config, config, f"the header of {path}"), frozenset(map(str, learnt_from)))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The parameters by path.

    Raises:
        UserError: no safetensors file.
    """
    return _open(path)[1]


def _open(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, arrays
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no safetensors file that can be read: {error}") from None
