"""Predicts the pictures that `--images` names and writes a table."""

import hashlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from jaxcaps import __version__
from jaxcaps.data.source import Source
from jaxcaps.errors import UserError
from jaxcaps.inference.model import TrainedClassifier
from jaxcaps.inference.pictures import PictureBatch
from jaxcaps.inference.rows import Rows, Value
from jaxcaps.training.evaluators import Classified

log = logging.getLogger("jaxcaps")


# Is shown the names of all pictures and a batch of them, before its rows are written.
Look = Callable[[Sequence[str], PictureBatch], None]


def predict_pictures(model: TrainedClassifier, images: str, out: Path, look: Look | None = None) -> None:
    """Writes a row for each picture: its class, calibrated probabilities, activation, and whether it is unlike the
    pictures of training. An interrupted command goes on where it stopped.

    Args:
        model: the classifier.
        images: the value of `--images`.
        out: the table to write.
        look: what else is to be done with each batch.

    Raises:
        UserError: there is no picture, none can be read, or the table exists or cannot be written.
    """
    source = model.source(images)
    names = [item.name for item in source.items]
    for note in source.notes:
        log.info(note)
    settings = {
        "version": __version__,
        "run": _digest(json.dumps([model.meta, model.calibration.plain()]).encode()),
        "pictures": _digest(json.dumps([images, names]).encode()),
    }
    with Rows(out, settings) as rows:
        first = len(rows.done)
        if rows.done != names[:first]:
            raise rows.damaged()
        if first:
            log.info("Going on after the %d pictures that are done", first)
        for batch, found in _predicted(model, source, first):
            if look is not None:
                look(names, batch)
            rows.add(found)
        summary = _Summary(rows)
        if not summary.classes:
            rows.partial.unlink()
            raise UserError(f"--images={images}: none of its {len(names)} pictures can be used; {summary.first_bad}")
        rows.finish(_columns(model))
    log.info("Wrote the predictions of %d pictures to %s:", summary.classes.total(), out)
    for name in model.classes_:
        log.info("  %s: %d", name, summary.classes[name])
    if summary.flagged:
        log.info("%d of them are flagged: they are unlike the pictures that the model learnt from", summary.flagged)
    if summary.bad:
        log.info("%d pictures could not be used, see %s; %s", summary.bad, rows.unreadable, summary.first_bad)


class _Summary:
    """Counts of the rows of a table, which are not kept."""

    def __init__(self, rows: Rows):
        self.classes: Counter[Value] = Counter()
        self.flagged = self.bad = 0
        self.first_bad = ""
        for name, found in rows:
            if isinstance(found, str):
                self.bad += 1
                self.first_bad = self.first_bad or f"the first is {name}: {found}"
            else:
                self.classes[found[0]] += 1
                self.flagged += bool(found[-1])


def _predicted(
    model: TrainedClassifier, source: Source, first: int
) -> Iterator[tuple[PictureBatch, list[tuple[str, list[Value] | str]]]]:
    """Yields each batch with its rows, in order, with a progress bar on standard error."""
    items = source.items
    with Progress(console=Console(file=sys.stderr), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("Compiling", total=len(items), completed=first)
        for batch, predicted in model.stream(model.read(source, range(first, len(items)))):
            found: dict[int, list[Value] | str] = dict(batch.bad)
            if predicted is not None:
                found |= zip(batch.rows, _values(model, predicted), strict=True)
            yield batch, [(items[row].name, found[row]) for row in sorted(found)]
            progress.update(task, advance=len(found), description="Predicting")


def _columns(model: TrainedClassifier) -> tuple[str, ...]:
    return ("predicted", *(f"probability_{name}" for name in model.classes_), "activation", "ood_score", "ood")


def _values(model: TrainedClassifier, predicted: Classified) -> list[list[Value]]:
    """The values of each picture, in the order of `_columns`."""
    best = np.argmax(predicted.logits, axis=1)
    probabilities = model.calibration.probabilities(predicted)
    scores = model.calibration.unfamiliarity(predicted)
    activations = model.activations(predicted)
    return [
        [
            str(model.classes_[one]),
            *(round(float(share), 6) for share in shares),
            None if activations is None else round(float(activations[row, one]), 6),
            round(float(score), 4),
            bool(score > 1),
        ]
        for row, (one, shares, score) in enumerate(zip(best, probabilities, scores, strict=True))
    ]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
