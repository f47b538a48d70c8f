"""PyTorch's capsule networks as ours: `python -m jaxcaps.convert`, and `sabour` and `load` in Python."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from jaxcaps.commands import read_flags, run_command
from jaxcaps.errors import UserError
from jaxcaps.plan.flags import home

if TYPE_CHECKING:
    import numpy as np

    from jaxcaps.converting.network import Settings
    from jaxcaps.models import SabourCapsNet

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Flags:
    weights: str
    """parameters of the PyTorch network: .safetensors, .npz, or a file of torch.save (.pt, .pth, .pkl, .ckpt)"""
    out: str
    """the .safetensors file to write"""
    iterations: Annotated[int, Interval(ge=1, le=1000)] = 3
    """routing iterations of the network, which its parameters do not tell"""


def sabour(weights: Mapping[str, Any] | str | Path, *, iterations: int = 3) -> SabourCapsNet:
    """A `SabourCapsNet` with the parameters of a PyTorch network, which gives the same outputs.

    The network is recognised by the names of its parameters; see docs/how-to/convert.md for those that are known. Give
    pictures in the range that it learnt from, [batch, height, width, channels].

    Args:
        weights: its `state_dict()`, of tensors or NumPy arrays, or a file, as `--weights` of the command.
        iterations: its number of routing iterations.

    Raises:
        UserError: the parameters are not those of a known network, or the file cannot be read.
    """
    from jaxcaps.converting.network import assembled

    settings, parameters, _ = _converted(weights, iterations)
    return assembled(settings, parameters)


def load(file: str | Path) -> SabourCapsNet:
    """The network in a file that `python -m jaxcaps.convert` has written.

    Raises:
        UserError: it is not such a file.
    """
    from jaxcaps.converting.files import read
    from jaxcaps.converting.network import assembled

    return assembled(*read(home(str(file))))


def _converted(weights: Mapping[str, Any] | str | Path, iterations: int) -> tuple[Settings, dict[str, np.ndarray], str]:
    """The arguments and the parameters of our network, and where the PyTorch network is published."""
    from jaxcaps.converting import LAYOUTS
    from jaxcaps.converting.base import recognise
    from jaxcaps.converting.files import as_arrays, read_state_dict, unwrapped
    from jaxcaps.converting.network import parameters_from, settings_of

    from_file = isinstance(weights, str | Path)
    arrays = as_arrays(read_state_dict(home(str(weights))) if from_file else unwrapped(weights, "weights"))
    layout = LAYOUTS[recognise(arrays, LAYOUTS)]
    layout.check(arrays)
    arranged = layout.weights(arrays)
    settings = settings_of(arranged, iterations)
    return settings, parameters_from(arranged, settings), layout.source


def main() -> None:
    flags = read_flags(Flags, "convert", "Converts the weights of a PyTorch capsule network to a SabourCapsNet.")
    out = home(flags.out)
    if out.suffix != SUFFIX:
        raise UserError(f"--out={flags.out}: the file should end in {SUFFIX}")
    if out.exists():
        raise UserError(f"--out={flags.out} exists; nothing was changed. Give another --out, or remove it")
    settings, parameters, source = _converted(flags.weights, flags.iterations)
    from jaxcaps.converting.files import write

    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, settings, parameters, source)
    log = logging.getLogger("jaxcaps")
    height, width, channels = settings.shape
    log.info("A network of %s, for pictures of %dx%d with %d channel(s) and %d classes",
             source, height, width, channels, settings.classes)  # fmt: skip
    log.info("Written to %s; jaxcaps.convert.load(%r) gives the network", flags.out, flags.out)


if __name__ == "__main__":
    run_command(main)
