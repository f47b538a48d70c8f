"""A picture beside its maps as a PNG, for each picture that `python -m jaxcaps.predict --explain` predicts."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.atomic import replacing
from jaxcaps.errors import UserError
from jaxcaps.explaining.capsules import has_capsules
from jaxcaps.explaining.drawing import as_bytes
from jaxcaps.explaining.maps import overlay_images
from jaxcaps.explaining.subject import stored_subject
from jaxcaps.explaining.writing import page_name
from jaxcaps.inference.model import TrainedClassifier
from jaxcaps.inference.pictures import PictureBatch
from jaxcaps.reporting.pictures import resized

log = logging.getLogger("jaxcaps")

# Side of a panel in pixels.
SIDE = 224


class Overlays:
    """Writes overlays of the first pictures of a table of predictions to `NAME.overlays` beside `NAME.csv`.

    Args:
        model: the classifier.
        out: the table.
        limit: the largest number of pictures.

    Raises:
        UserError: the folder exists, and the table is not one that was interrupted.
    """

    def __init__(self, model: TrainedClassifier, out: Path, limit: int):
        self.model, self.limit = model, limit
        self.folder = out.with_name(f"{out.stem}.overlays")
        if self.folder.exists() and not out.with_name(f"{out.name}.partial").exists():
            raise UserError(f"--explain: {self.folder} exists and was not changed; remove it, or give another --out")

    def __call__(self, names: Sequence[str], batch: PictureBatch) -> None:
        """Draws over the readable pictures of a batch."""
        for row, stored in zip(batch.rows, batch.images, strict=True):
            if row < self.limit:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_overlay(self.model, stored, self.folder / page_name(row, names[row], ".png"))
        last = max([*batch.rows, *(row for row, _ in batch.bad)])
        if last == len(names) - 1:
            more = f"; --explain-limit={len(names)} draws over all {len(names)}" if len(names) > self.limit else ""
            # Those of an interrupted command too. It may have drawn none, and some pictures may be unreadable.
            drawn = sum(1 for _ in self.folder.glob("[0-9]*.png"))
            see = f", see {self.folder}" if drawn else ""
            log.info("Drew maps over %d of the first %d pictures%s%s", drawn, min(len(names), self.limit), see, more)


def write_overlay(model: TrainedClassifier, stored: np.ndarray, file: Path) -> None:
    """Writes a picture beside its maps for the predicted class: votes of the last iteration, and SmoothGrad.

    A network without capsules has no votes.

    Args:
        model: the classifier.
        stored: the picture as `model.read` gives it, uint8.
        file: the PNG to write.
    """
    subject = stored_subject(model, stored)
    kinds = ("votes", "smooth gradient") if has_capsules(model) else ("smooth gradient",)
    panels = [as_bytes(np.asarray(subject.image)), *overlay_images(model, subject, kinds=kinds).values()]
    with replacing(file) as partial:
        Image.fromarray(np.concatenate([resized(panel, SIDE) for panel in panels], axis=1)).save(partial)
