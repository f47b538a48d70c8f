"""Parameters as one safetensors file, with all that is needed to use them in the header.

The header has one key, `jaxcaps`, with JSON. safetensors writes several keys in random order, so that equal contents
would give different files. `docs/reference/file-formats.md` lists what is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.pipeline.applying import FittedSteps
from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config, recorded_config, shareable

if TYPE_CHECKING:
    import numpy as np

SUFFIX = ".safetensors"
KEY = "jaxcaps"
FORMAT = 1
# The arrays of the calibration, which are not parameters of the network.
FAMILIAR = "familiar/"


class Stored(NamedTuple):
    """Attributes:
    arrays: the parameters by path; for a classifier also `familiar/mean` and `familiar/whitening`.
    config: configuration of the run, as `jaxcaps.plan.config.shareable` leaves it.
    learnt_from: contents of the training pictures, see `jaxcaps.data.reading.content`.
    prepared: the steps with which `data_prep` made them, or None.
    more: what else is in the header.
    """

    arrays: dict[str, np.ndarray]
    config: Config
    learnt_from: frozenset[str]
    prepared: FittedSteps | None
    more: dict[str, Any]

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {path: value for path, value in self.arrays.items() if not path.startswith(FAMILIAR)}


def write_tensors(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    config: Config,
    learnt_from: frozenset[str],
    prepared: FittedSteps | None = None,
    **more: Any,
) -> None:
    """Writes arrays and header. Equal contents give equal bytes.

    Args:
        path: the file to write.
        arrays, config, learnt_from, prepared: see `Stored`.
        more: further values of the header, as JSON types.
    """
    import numpy as np
    from safetensors.numpy import save

    from jaxcaps import __version__

    header = {
        "format": FORMAT,
        "version": __version__,
        "config": shareable(config),
        "learnt_from": sorted(learnt_from),
        "preparation": None if prepared is None else prepared.to_dict(),
        **more,
    }
    arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    header["sha256"] = _checksum(header, arrays)
    path.write_bytes(save(arrays, metadata={KEY: json.dumps(header)}))


def read_tensors(path: Path) -> Stored:
    """Reads a file and checks it.

    Raises:
        UserError: the file is not one that `write_tensors` wrote, has another format, or is damaged.
    """
    metadata, arrays = read_safetensors(path)
    text = metadata.get(KEY)
    if text is None:
        raise UserError(f"{path}: its header has no {KEY!r}, so jaxcaps did not write it; give a file that it wrote")
    try:
        header = json.loads(text)
        found, version = header.pop("format"), header.pop("version")
        if found != FORMAT:
            raise UserError(
                f"{path} has format {found}, written by jaxcaps {version}, and this version reads format {FORMAT}; "
                "export it again with this version"
            )
        checksum = header.pop("sha256")
        if checksum != _checksum({"format": found, "version": version, **header}, arrays):
            raise UserError(f"{path} is damaged: its contents do not fit its checksum; export or copy it again")
        config, learnt_from, steps = (header.pop(name) for name in ("config", "learnt_from", "preparation"))
        prepared = None if steps is None else FittedSteps.from_dict(steps)
        return Stored(
            arrays, recorded_config(config, f"the header of {path}"), frozenset(learnt_from), prepared, header
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: its header is damaged ({error!r}); export or copy it again") from None


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Reads the metadata and the arrays of any safetensors file.

    Raises:
        UserError: the file is not a safetensors file, or has numbers of a type that NumPy does not know.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as a safetensors file: {error}; export or copy it again") from None
    # Such as bfloat16, which NumPy knows as soon as jax is imported, and eight-bit numbers, which it never does.
    except (TypeError, AttributeError) as error:
        raise UserError(f"{path} has numbers of a type that NumPy does not know ({error}); save float32") from None


def _checksum(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, value in sorted(arrays.items()):
        digest.update(f"\n{name} {value.dtype.str} {value.shape}\n".encode() + value.tobytes())
    return digest.hexdigest()
