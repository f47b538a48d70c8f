"""Predictions and scores of a fine-tuned run, on any split of any data with its classes."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxcaps.config import ALL_LABELS
from jaxcaps.data.dataset import Split
from jaxcaps.data.items import class_names
from jaxcaps.data.prepared import as_in_training
from jaxcaps.data.source import Source
from jaxcaps.data.sources import short_name
from jaxcaps.data.splits import ALL, called
from jaxcaps.errors import UserError, nearest
from jaxcaps.inference.runs import open_classifier, with_data
from jaxcaps.plan.config import Config
from jaxcaps.restoring import Origin, find_origin
from jaxcaps.restoring.run_folder import read_json
from jaxcaps.training.evaluators import Predictor, classified
from jaxcaps.training.finish import score_classifier
from jaxcaps.training.folder import check_not_learnt, check_writable
from jaxcaps.training.ledger import record_reading
from jaxcaps.training.setup import load_data

log = logging.getLogger("jaxcaps")


class Predicted(NamedTuple):
    """The predictions of a classifier on a split.

    Attributes:
        split: the examples.
        probabilities: float32 [n, classes].
        classes: the class names.
        config: configuration of the run, with the predicted data as its data.
        meta: metadata of the run's checkpoint: `fingerprint`, `train_counts` and more.
    """

    split: Split
    probabilities: np.ndarray
    classes: tuple[str, ...]
    config: Config
    meta: dict[str, Any]


def predict(
    restore: str | Path | Origin,
    split: str,
    *,
    data: str | None = None,
    batch_size: int | None = None,
    hidden_labels: bool = True,
    labels: Literal["required", "optional"] = "required",
    before_reading: Callable[[Config], None] = lambda config: None,
) -> Predicted:
    """Predicts a split with the selected parameters of a run.

    Args:
        restore: a fine-tuned run, as `find_origin` finds it.
        split: "train", "validation", "test" or "all".
        data: other data with the run's classes, or some of them, prepared as the run's pictures if it is not.
            Default: the run's data. A file does not know where that lies.
        batch_size: images per batch. Default: as in training.
        hidden_labels: whether to hide the labels that `--label-fraction` hid from the run.
        labels: "required" if the predictions are to be scored; "optional" also predicts pictures without labels.
        before_reading: called with the configuration, including the predicted data, before a picture is read, if the
            data can be opened and has no other classes.

    Raises:
        UserError: there is no fine-tuned run, the data lacks the split or has a class that the run does not know, or a
            split other than training holds pictures that the run was trained on.
    """
    origin = find_origin(restore)
    origin.check_data(data)
    opened = open_classifier(origin, batch_size)
    changes: dict[str, Any] = {} if data is None else {"data": data}
    changes |= {} if hidden_labels else ALL_LABELS
    # Folds and a rare class are choices among the splits.
    changes |= {"folds": 0, "fold": 0, "minority": ""} if split == ALL else {}
    config = with_data(opened.config, **changes)
    place, classes = config.data.data, tuple(opened.meta["classes"])

    def checked(source: Source) -> Source:
        _check_known(class_names(source.items), classes, place)
        source = as_in_training(source, opened.prepared, place)
        before_reading(config)
        return source

    dataset = load_data(config, (split,), labels, checked)
    # Labels as numbers of the run's classes, matched by name. The last number is that of label -1.
    numbers = np.array([*map(classes.index, dataset.classes), -1], np.int32)
    scored = replace(dataset.splits[split], labels=numbers[dataset.splits[split].labels])
    if split != "train":
        check_not_learnt(origin.learnt_from, scored, split, origin.name)
    predictor = Predictor(opened.modules, classified, opened.mesh, opened.batch_size, config.data.image_size)
    probabilities = predictor(opened.parameters, scored).probabilities
    return Predicted(scored, probabilities, classes, config, opened.meta)


def _check_known(found: tuple[str, ...], classes: tuple[str, ...], place: str) -> None:
    """
    Raises:
        UserError: the data has a class that the run does not know.
    """
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise UserError(
            f"{place}: the run has no class {unknown[0]!r}{nearest(unknown[0], classes)}. Rename the class, remove its "
            "pictures, or leave their labels empty"
        )


def evaluate(
    restore: str,
    split: str,
    *,
    data: str | None,
    batch_size: int | None,
    out: Path | None = None,
    ledger: Path | None = None,
) -> None:
    """Prints the metrics and writes metrics, predictions and the confusion matrix to the run folder, or to `out`.

    The files are named after the split, and after the data if it is not the run's own.

    Before pictures of a test split, or of all of the data, are read, a line is added to the ledger.

    Raises:
        UserError: as `predict`; or the run is a file and there is no `out`, it cannot be written to, or it has the
            scores of other data of that name.
    """
    origin = find_origin(restore)
    folder = out or origin.own_folder
    check_writable(folder)

    own = origin.config.data.data

    def suffix_of(scored: str) -> str:
        return f"-{split}" if scored == own else f"-{split}-{short_name(scored)}"

    def check_and_record(config: Config) -> None:
        _check_scored(folder / f"metrics{suffix_of(config.data.data)}.json", config.data.data)
        if split in ("test", ALL):
            record_reading(
                ledger, data=config.data.data, what="evaluate", arms="", seeds=str(config.seed), folder=Path(restore)
            )

    found = predict(origin, split, data=data, batch_size=batch_size, before_reading=check_and_record)
    train_labels = np.repeat(np.arange(len(found.classes)), found.meta["train_counts"])
    scored = found.config.data.data
    suffix = suffix_of(scored)
    folder.mkdir(parents=True, exist_ok=True)
    table = score_classifier(
        folder, train_labels, found.split, found.probabilities, found.classes, suffix=suffix, extra={"data": scored}
    )
    log.info("\n%s of %s, parameters of %s:\n%s", called(split), scored, restore, table)
    log.info("Written to %s", folder / f"metrics{suffix}.json")


def _check_scored(file: Path, data: str) -> None:
    """
    Raises:
        UserError: the file has the scores of other data.
    """
    if file.is_file() and (known := read_json(file).get("data")) != data:
        raise UserError(
            f"--data={data}: {file} has the scores of {known}, which has the same name; give another --out, or remove "
            "them"
        )
