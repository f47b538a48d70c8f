"""`python -m jaxcaps.evaluate`: scores a fine-tuned run on one split.

Only this command and a final study open the test split.
"""

import sys
from dataclasses import dataclass
from typing import Literal

import tyro

from data_prep.flags import check_names
from jaxcaps.commands import run_command
from jaxcaps.errors import UserError
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    restore: str
    """run folder of a fine-tuned classifier"""
    split: Literal["train", "validation", "test", "all"] = "validation"
    """the split to score; all: every picture of --data, whatever splits it names"""
    data: str | None = None
    """other data with the run's classes, or some of them, such as an outside cohort (with --split=all); default: the
    data of the run"""
    batch_size: int | None = None
    """images per batch; default: as in training"""
    ledger: str | None = None
    """CSV file that records each reading of the test split; default: ledger.csv beside the run folder"""


def main() -> None:
    check_names(sys.argv[1:], Flags)
    flags = tyro.cli(Flags, prog="python -m jaxcaps.evaluate", description="Scores a fine-tuned run on one split.")
    if flags.batch_size is not None and flags.batch_size < 1:
        raise UserError(f"--batch-size={flags.batch_size}: give a number of at least 1")
    from jaxcaps.data.sources import absolute
    from jaxcaps.inference.score import evaluate

    evaluate(
        str(home(flags.restore)),
        flags.split,
        data=flags.data and absolute(flags.data),
        batch_size=flags.batch_size,
        ledger=home(flags.ledger) if flags.ledger else None,
    )


if __name__ == "__main__":
    run_command(main)
