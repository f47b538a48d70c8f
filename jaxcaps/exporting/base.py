"""What a format is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxcaps.inference.model import TrainedClassifier
from jaxcaps.restoring import Origin


@dataclass(frozen=True)
class Format:
    """A folder with a fine-tuned model, its description, its card and checksums.

    Attributes:
        write: writes the model to an empty folder.
        usage: how another program uses what was written, in Markdown, for the model card.
    """

    write: Callable[[TrainedClassifier, Path], None]
    usage: str


@dataclass(frozen=True)
class RunFormat:
    """One file with a finished run of either stage.

    Attributes:
        write: writes the run to the file.
        suffix: of the file.
    """

    write: Callable[[Origin, Path], None]
    suffix: str
