"""What a format is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxcaps.inference.model import TrainedClassifier


@dataclass(frozen=True)
class Format:
    """
    Attributes:
        write: writes a model to an empty folder.
        usage: how another program uses what was written, in Markdown, for the model card.
    """

    write: Callable[[TrainedClassifier, Path], None]
    usage: str
