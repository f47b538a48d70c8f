"""What the page says of one picture."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxcaps.data.decoding import BadImage
from jaxcaps.errors import UserError
from jaxcaps.inference.model import TrainedClassifier

log = logging.getLogger("jaxcaps")


class Answer(NamedTuple):
    """A classifier's answer to one picture.

    Attributes:
        stored: the picture as the network takes it.
        probabilities: calibrated, by class name.
        activation: of the predicted class's capsule; None for a network without capsules.
        unfamiliarity: out-of-distribution score; above 1, the picture is unlike those of training.
    """

    stored: UInt8[np.ndarray, "side side channels"]
    probabilities: dict[str, float]
    activation: float | None
    unfamiliarity: float

    @property
    def predicted(self) -> str:
        return max(self.probabilities, key=lambda name: self.probabilities[name])


def answer(model: TrainedClassifier, file: Path) -> Answer:
    """Classifies the picture in a file, prepared as the pictures of training were.

    Args:
        model: the classifier.
        file: an image, or a DICOM file that is alone in its folder.

    Raises:
        BadImage: the picture cannot be read, or the model cannot take it.
    """
    try:
        source = model.source(f"dicom:{file.parent}" if file.suffix.lower() in (".dcm", ".dicom") else str(file))
    except UserError as error:
        # Its folders and flags tell something to whoever runs the server, and nothing to a visitor.
        log.warning("%s", error)
        raise BadImage("it is not a picture that this page can open") from None
    ((batch, predicted),) = model.stream(model.read(source, [0]))
    if predicted is None:
        ((_, reason),) = batch.bad
        raise BadImage(reason)
    shares = model.calibration.probabilities(predicted)[0]
    activations = model.activations(predicted)
    return Answer(
        batch.images[0],
        dict(zip(model.classes_.tolist(), map(float, shares), strict=True)),
        None if activations is None else float(activations[0].max()),
        float(model.calibration.unfamiliarity(predicted)[0]),
    )
