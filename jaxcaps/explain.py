"""`python -m jaxcaps.explain`, and the functions of `jaxcaps.explaining`, such as `jaxcaps.explain.coupling_maps`.

They are imported at first use.
"""

import importlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from jaxcaps.commands import read_flags, run_command
from jaxcaps.plan.flags import home

if TYPE_CHECKING:
    from jaxcaps.explaining import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        functions = importlib.import_module("jaxcaps.explaining")
        if name in functions.__all__:
            return getattr(functions, name)
    raise AttributeError(f"module 'jaxcaps.explain' has no attribute {name!r}")


@dataclass(frozen=True)
class Flags:
    restore: str
    """folder of a fine-tuned run, or of a pre-training with a decoder"""
    images: str
    """a folder, which is searched for images; an image file; or KIND:PLACE as for --data, such as csv:FILE"""
    out: str
    """folder to write: a page for each picture, and scores.csv"""
    limit: Annotated[int, Ge(1)] = 20
    """explain at most this many pictures, the first ones"""


def main() -> None:
    flags = read_flags(
        Flags,
        "explain",
        "Explains what a run says of pictures: coupling, gradient and occlusion maps, and sliders for the dimensions "
        "of a capsule. Not a medical device.",
    )
    from jaxcaps.explaining import load
    from jaxcaps.explaining.writing import explain_pictures

    out = home(flags.out)
    explain_pictures(load(home(flags.restore)), flags.images, out, flags.limit)
    logging.getLogger("jaxcaps").info("Written to %s", out)


if __name__ == "__main__":
    # The plain forms compile in a third of the time, and a few pictures do not need the others.
    os.environ.setdefault("JAXCAPS_CPU_KERNELS", "0")
    run_command(main)
