"""`python -m jaxcaps.predict`: classes and probabilities of pictures without labels, by a fine-tuned run."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from jaxcaps.commands import read_flags, run_command
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    restore: str
    """folder of a fine-tuned run, or the run as a file: FILE.jaxcaps or FILE.safetensors"""
    images: str
    """a folder, which is searched for images; an image file; or KIND:PLACE as for --data, such as csv:FILE"""
    out: str
    """CSV file to write"""
    batch_size: Annotated[int, Ge(1)] | None = None
    """images per batch; default: as in training"""
    explain: bool = False
    """also draw maps over each picture, into a folder beside --out"""
    explain_limit: Annotated[int, Ge(1)] = 200
    """with --explain, draw over at most this many pictures, the first ones"""


def main() -> None:
    flags = read_flags(
        Flags, "predict", "Predicts the classes of pictures with a fine-tuned run. Not a medical device."
    )
    from jaxcaps.inference.model import load_classifier
    from jaxcaps.inference.predictions import predict_pictures

    model = load_classifier(home(flags.restore), batch_size=flags.batch_size)
    out, look = home(flags.out), None
    if flags.explain:
        from jaxcaps.explaining.overlays import Overlays

        look = Overlays(model, out, flags.explain_limit)
    predict_pictures(model, flags.images, out, look)


if __name__ == "__main__":
    run_command(main, resumes=True)
