"""`python -m jaxcaps.report`: one page about a finished run, alone or beside other runs."""

import logging
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxcaps.commands import read_flags, run_command
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    restore: str
    """folder of a finished run"""
    compare: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN ...")] = ()
    """folders of fine-tuned runs to compare it with, on the same validation pictures"""
    out: str | None = None
    """the file to write; default: report.html in the run folder, or comparison.html with --compare"""


def main() -> None:
    flags = read_flags(Flags, "report", "Writes one page about a finished run.")
    from jaxcaps.reporting.making import report

    path = report(home(flags.restore), [home(each) for each in flags.compare], home(flags.out) if flags.out else None)
    logging.getLogger("jaxcaps").info("Written to %s", path)


if __name__ == "__main__":
    run_command(main)
