"""The steps of a finished preparation, to apply to other pictures: those that a trained model is to classify."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_prep.config import Steps
from data_prep.errors import UserError
from data_prep.images.box import Box
from data_prep.pipeline.sequence import VERSION, fit_of, look, stages, steps_on
from data_prep.sources.csv import DATASET
from data_prep.steps.step import Findings


@dataclass(frozen=True)
class FittedSteps:
    """
    Attributes:
        steps: the settings of all steps.
        reference: the reference histogram of the step that learns from the training frames, 3 rows of 256 counts; None
            if no step does.
        version: of the steps' pixels.
    """

    steps: Steps
    reference: tuple[tuple[int, ...], ...] | None = None
    version: int = VERSION

    def check(self) -> None:
        """
        Raises:
            UserError: the steps cannot be applied to a picture of which nothing is known.
        """
        if self.version != VERSION:
            raise UserError(
                f"the steps of data_prep have changed since (version {self.version}, now {VERSION}); prepare the "
                "training pictures again and train on them"
            )
        guesses = any(step.switch == "guess_modality" for step in steps_on(self.steps))
        if self.reference is not None and not guesses:
            raise UserError(
                "histograms were matched by the modality that a table named, and pictures do not name theirs; prepare "
                "them with python -m data_prep, and give the labels.csv that it writes"
            )

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Prepares one picture as the command prepares a frame of which the source tells nothing.

        Args:
            image: uint8 RGB [height, width, 3], as decoded.

        Returns:
            uint8 RGB [height', width', 3].
        """
        height, width = image.shape[:2]
        findings, _ = look(image, Findings(Box(0, 0, height, width)), self.steps)
        fit, reference = fit_of(self.steps), None
        if fit is not None and self.reference is not None and findings.modality in fit.changes(self.steps):
            reference = np.asarray(self.reference, np.int64)
        ((_, prepared),) = deque(stages(image, findings, self.steps, reference), maxlen=1)
        return prepared

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in JSON."""
        reference = None if self.reference is None else [list(row) for row in self.reference]
        return {"steps": asdict(self.steps), "reference_histogram": reference, "steps_version": self.version}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FittedSteps":
        """
        Raises:
            KeyError, TypeError, ValueError: the values are not those of `to_dict`.
        """
        counts = values["reference_histogram"]
        reference = None if counts is None else tuple(tuple(int(count) for count in row) for row in counts)
        return cls(Steps(**values["steps"]), reference, int(values["steps_version"]))


def read_fitted_steps(folder: Path) -> FittedSteps | None:
    """The steps with which `data_prep` prepared the pictures of an output folder; None if it is not one.

    Raises:
        UserError: its description was not written by this version of `data_prep`.
    """
    described = folder / DATASET
    if not described.is_file():
        return None
    try:
        values = yaml.safe_load(described.read_text(encoding="utf-8"))
        fitted = values["fitted"]["reference_histogram"]
        counts = None if fitted is None else json.loads((folder / fitted["file"]).read_text(encoding="utf-8"))["counts"]
        return FittedSteps.from_dict({**values, "reference_histogram": counts})
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{described} was not written by this version of data_prep: {error!r}; prepare the data again"
        ) from None
