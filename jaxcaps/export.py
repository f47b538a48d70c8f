"""`python -m jaxcaps.export`: a fine-tuned run as a model that other programs can use."""

import logging
from dataclasses import dataclass
from typing import Annotated

from jaxcaps.commands import read_flags, run_command
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
    flags = read_flags(
        Flags, "export", "Writes a fine-tuned run as a model that other programs can use. Not a medical device."
    )
    from jaxcaps.exporting.writing import export

    folder = export(home(flags.restore), flags.to, home(flags.out))
    logging.getLogger("jaxcaps").info("Written to %s; its README.md is the model card and says how to use it", folder)


if __name__ == "__main__":
    run_command(main)
