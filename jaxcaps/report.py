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
    """folder of a finished run, or FILE.jaxcaps, a run as one file"""
    compare: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN ...")] = ()
    """fine-tuned runs to compare it with, on the same validation pictures"""
    data: str | None = None
    """where the data of the run lies now; default: where it lay then"""
    out: str | None = None
    """the file to write; default: report.html in the run folder, or comparison.html with --compare"""


def main() -> None:
    flags = read_flags(Flags, "report", "Writes one page about a finished run.")
    from jaxcaps.data.sources import absolute
    from jaxcaps.reporting.making import report

    path = report(
        flags.restore, flags.compare, home(flags.out) if flags.out else None, flags.data and absolute(flags.data)
    )
    logging.getLogger("jaxcaps").info("Written to %s", path)


if __name__ == "__main__":
    run_command(main)
