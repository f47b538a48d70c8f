"""`python -m jaxcaps.runs`: the runs below a folder, and how far each has come."""

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxcaps.commands import read_flags, run_command
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    folder: Annotated[str, tyro.conf.Positional] = "runs"
    """where to look, at any depth"""


def main() -> None:
    flags = read_flags(Flags, "runs", "Lists the runs below a folder.")
    from rich.console import Console

    from jaxcaps.reporting.listing import list_runs, runs_table

    runs = list_runs(home(flags.folder))
    if not runs:
        print(f"{flags.folder} holds no runs; python -m jaxcaps.train writes some")
        return
    # A file or a pipe gets each run in one line, however long it is.
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, highlight=False).print(runs_table(runs))


if __name__ == "__main__":
    run_command(main)
