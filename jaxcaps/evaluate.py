"""`python -m jaxcaps.evaluate`: scores a fine-tuned run on one split.

Only this command and a final study open the test split.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from jaxcaps.commands import read_flags, run_command
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    restore: str
    """folder of a fine-tuned run, or the run as a file: FILE.jaxcaps or FILE.safetensors"""
    split: Literal["train", "validation", "test", "all"] = "validation"
    """the split to score; all: every picture of --data, whatever splits it names"""
    data: str | None = None
    """other data with the run's classes, or some of them, such as an outside cohort (with --split=all); default: the
    data of the run"""
    batch_size: Annotated[int, Ge(1)] | None = None
    """images per batch; default: as in training"""
    out: str | None = None
    """folder for the results; default: the run folder"""
    ledger: str | None = None
    """CSV file that records each reading of the test split; default: ledger.csv beside the run folder"""


def main() -> None:
    flags = read_flags(Flags, "evaluate", "Scores a fine-tuned run on one split.")
    from jaxcaps.data.sources import absolute
    from jaxcaps.inference.score import evaluate

    evaluate(
        str(home(flags.restore)),
        flags.split,
        data=flags.data and absolute(flags.data),
        batch_size=flags.batch_size,
        out=home(flags.out) if flags.out else None,
        ledger=home(flags.ledger) if flags.ledger else None,
    )


if __name__ == "__main__":
    run_command(main)
