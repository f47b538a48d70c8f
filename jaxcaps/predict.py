"""`python -m jaxcaps.predict`: classes and probabilities of pictures without labels, by a fine-tuned run."""

import sys
from dataclasses import dataclass

import tyro

from data_prep.flags import check_names
from jaxcaps.commands import run_command
from jaxcaps.errors import UserError
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    restore: str
    """run folder of a fine-tuned classifier"""
    images: str
    """a folder, which is searched for images; an image file; or KIND:PLACE as for --data, such as csv:FILE"""
    out: str
    """CSV file to write"""
    batch_size: int | None = None
    """images per batch; default: as in training"""


def main() -> None:
    check_names(sys.argv[1:], Flags)
    flags = tyro.cli(
        Flags,
        prog="python -m jaxcaps.predict",
        description="Predicts the classes of pictures with a fine-tuned run. Not a medical device.",
    )
    if flags.batch_size is not None and flags.batch_size < 1:
        raise UserError(f"--batch-size={flags.batch_size}: give a number of at least 1")
    from jaxcaps.inference.model import TrainedClassifier, load
    from jaxcaps.inference.predictions import predict_pictures

    model = load(home(flags.restore), batch_size=flags.batch_size)
    if not isinstance(model, TrainedClassifier):
        raise UserError(f"--restore={flags.restore}: an encoder has no classes; fine-tune it and give that run")
    predict_pictures(model, flags.images, home(flags.out))


if __name__ == "__main__":
    run_command(main)
