"""`python -m jaxcaps.export`: a run as a model that other programs can use, or as one file."""

import logging
from dataclasses import dataclass
from typing import Annotated

from jaxcaps.commands import read_flags, run_command
from jaxcaps.config import choice
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    restore: str
    """folder of a finished run, or the run as a file: FILE.jaxcaps or FILE.safetensors"""
    out: str
    """the folder to write; for a bundle the file, NAME.jaxcaps"""
    to: Annotated[str, choice("jaxcaps.exporting", "FORMAT", "the format")] = "stablehlo"


def main() -> None:
    flags = read_flags(
        Flags,
        "export",
        "Writes a fine-tuned run as a model that other programs can use, or any run as one file. Not a medical device.",
    )
    from jaxcaps.exporting.writing import export

    written = export(flags.restore, flags.to, home(flags.out))
    card = "; its README.md is the model card and says how to use it" if written.is_dir() else ""
    logging.getLogger("jaxcaps").info("Written to %s%s", written, card)


if __name__ == "__main__":
    run_command(main)
