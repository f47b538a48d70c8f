"""Reads the weights of PyTorch networks, and writes and reads converted networks."""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from data_prep.atomic import replacing
from jaxcaps import __version__
from jaxcaps.config import from_dict
from jaxcaps.converting.network import Settings
from jaxcaps.errors import UserError
from jaxcaps.restoring.tensor_file import read_safetensors

PICKLES = (".pt", ".pth", ".pkl", ".ckpt")
# Under which names checkpoints keep the parameters.
WRAPPERS = ("state_dict", "model_state_dict", "model")
# What files of data-parallel networks have before every name.
PARALLEL = "module."


def read_state_dict(path: Path) -> dict[str, Any]:
    """Reads the parameters by name. A pickle is read only by `torch.load(weights_only=True)`, which runs no code.

    Args:
        path: .safetensors, .npz, or a file of `torch.save`: .pt, .pth, .pkl or .ckpt.

    Raises:
        UserError: the file is of another kind, cannot be read or holds more than arrays by name; or it needs PyTorch,
            which is not installed.
    """
    if not path.is_file():
        raise UserError(f"--weights={path}: no such file; check the path")
    return unwrapped(_read(path), f"--weights={path}")


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return read_safetensors(path)[1]
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise UserError(f"--weights={path} cannot be read as arrays of NumPy: {error}; save it again") from None
    if path.suffix in PICKLES:
        return _read_pickle(path)
    raise UserError(f"--weights={path}: give a .safetensors, a .npz, or a file of torch.save ({', '.join(PICKLES)})")


def _read_pickle(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"--weights={path} needs PyTorch: pip install torch. Or save it where PyTorch is, by "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # Whatever is wrong with a pickle, it is not read in another way.
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--weights={path} cannot be read as weights alone ({reason}); save model.state_dict() instead of the model"
        ) from None


def unwrapped(values: Any, where: str) -> dict[str, Any]:
    """The parameters by name, out of the dictionary of a checkpoint, and without the prefix of parallel training.

    Raises:
        UserError: there are none.
    """
    for name in WRAPPERS:
        if isinstance(values, Mapping) and isinstance(values.get(name), Mapping):
            values = values[name]
    if not isinstance(values, Mapping) or not all(hasattr(value, "shape") for value in values.values()) or not values:
        raise UserError(f"{where}: parameters by name expected, as of model.state_dict()")
    parallel = all(str(name).startswith(PARALLEL) for name in values)
    return {str(name).removeprefix(PARALLEL if parallel else ""): value for name, value in values.items()}


def as_arrays(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """PyTorch's tensors and other arrays as NumPy arrays.

    Raises:
        UserError: one is not of finite floating-point numbers.
    """
    arrays = {}
    for name, value in values.items():
        tensor = value.detach().cpu().float() if hasattr(value, "detach") else value
        array = np.asarray(tensor)
        # NumPy does not count bfloat16 as one.
        if not jax.dtypes.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise UserError(f"{name}: finite floating-point numbers expected, found {array.dtype}")
        arrays[name] = array.astype(np.float32)
    return arrays


def write(path: Path, settings: Settings, parameters: Mapping[str, np.ndarray], source: str) -> None:
    """Writes a converted network: parameters by path, and its settings in the header."""
    settings_json = json.dumps(dataclasses.asdict(settings))
    metadata = {"version": __version__, "sabour": settings_json, "source": source}
    with replacing(path) as temporary:
        save_file(dict(parameters), temporary, metadata=metadata)


def read(path: Path) -> tuple[Settings, dict[str, np.ndarray]]:
    """Reads what `write` has written.

    Raises:
        UserError: it is not such a file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    metadata, arrays = read_safetensors(path)
    try:
        values = json.loads(metadata["sabour"])
    except (KeyError, ValueError):
        raise UserError(f"{path} was not written by jaxcaps.convert; convert the weights first") from None
    return from_dict(Settings, values, f"the header of {path}"), arrays
