"""`python -m jaxcaps.export`: a fine-tuned run as a model that other programs can use."""

import logging
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from data_prep.flags import check_names
from jaxcaps.commands import run_command
from jaxcaps.config import choice
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    restore: str
    """folder of a fine-tuned run"""
    out: str
    """the folder to write"""
    to: Annotated[str, choice("jaxcaps.exporting", "FORMAT", "the format")] = "stablehlo"


def main() -> None:
    check_names(sys.argv[1:], Flags)
    flags = tyro.cli(
        Flags,
        prog="python -m jaxcaps.export",
        description="Writes a fine-tuned run as a model that other programs can use. Not a medical device.",
    )
    from jaxcaps.exporting.writing import export

    folder = export(home(flags.restore), flags.to, home(flags.out))
    logging.getLogger("jaxcaps").info("Written to %s; its README.md is the model card and says how to use it", folder)


if __name__ == "__main__":
    run_command(main)
