"""One cell of a study: pre-train once, fine-tune with each share of the labels and each recipe, score, keep the scores.

A cell's folder holds the run folders `ssl` and `finetune/<share>/<recipe>`, and `outcome.json` once it is finished.
"""

import dataclasses
import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcaps.data.dataset import Split
from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config, architecture_hash
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.length import run_length
from jaxcaps.studies.pixels import PIXELS, classify_pixels
from jaxcaps.studies.plan import Cell, Plan, Recipe
from jaxcaps.training.folder import is_finished
from jaxcaps.training.loop import train
from jaxcaps.training.score import predict
from jaxcaps.training.setup import load_data
from jaxcaps.training.writers import read_rows, replace_text

log = logging.getLogger("jaxcaps")

OUTCOME, FAILED, PREDICTIONS = "outcome.json", "failed.json", "predictions.npz"


@dataclass(frozen=True)
class FineTuning:
    """What one fine-tuning came to.

    Attributes:
        label_fraction, recipe: which it was.
        folder: its run folder, in the cell's.
        architecture: the hash of its architecture; "" for a classifier of pixels.
        fingerprint: of the data.
        updates: updates of the optimiser.
        pretraining_seconds, seconds: of both stages.
        validation: balanced accuracy on those validation pictures whose labels the share shows, by which recipes are
            chosen; None for a classifier of pixels.
    """

    label_fraction: float
    recipe: str
    folder: str
    architecture: str
    fingerprint: str
    updates: int
    pretraining_seconds: float
    seconds: float
    validation: float | None


def run_cell(plan: Plan, cell: Cell, folder: Path, *, keep_checkpoints: bool) -> None:
    """Runs what the cell in `folder` still lacks.

    Raises:
        UserError: as `jaxcaps.train`; `UnsuitableTask` among them.
    """
    if (folder / OUTCOME).is_file():
        return
    (folder / FAILED).unlink(missing_ok=True)
    done = _pixels(plan, cell, folder) if plan.arm(cell.arm).pixels else _networks(plan, cell, folder)
    replace_text(folder / OUTCOME, json.dumps([dataclasses.asdict(one) for one in done], indent=2) + "\n")
    if not keep_checkpoints:
        # They are most of a study's size; the encoder stays, as safetensors.
        for checkpoints in folder.glob("**/checkpoints"):
            shutil.rmtree(checkpoints)


def read_outcome(folder: Path) -> list[FineTuning] | None:
    """What a finished cell came to; None for one that is not finished.

    Raises:
        UserError: another version wrote it.
    """
    path = folder / OUTCOME
    if not path.is_file():
        return None
    try:
        return [FineTuning(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
    except TypeError:
        raise UserError(f"{path} is of another version of jaxcaps; remove the cell's folder to run it again") from None


def read_failure(folder: Path) -> tuple[bool, str] | None:
    """Whether a cell could have run, and why it has not; None for one that did, or was not begun."""
    path = folder / FAILED
    if not path.is_file() or (folder / OUTCOME).is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return values["applicable"], values["reason"]


def unsuitable(folder: Path) -> bool:
    """Whether a cell was found not applicable: its task does not suit the data."""
    failure = read_failure(folder)
    return failure is not None and not failure[0]


class Predictions(NamedTuple):
    """What a fine-tuned classifier says of the scored split: names, labels int [n], groups int [n], probabilities
    float [n, classes], and the names of the classes."""

    names: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, split: Split, probabilities: np.ndarray, classes: tuple[str, ...]) -> "Predictions":
        return cls(np.array(split.names), split.labels, split.groups, probabilities, np.array(classes))

    def save(self, folder: Path) -> None:
        np.savez(folder / PREDICTIONS, **self._asdict())

    @classmethod
    def load(cls, folder: Path) -> "Predictions":
        with np.load(folder / PREDICTIONS) as values:
            return cls(**{name: values[name] for name in cls._fields})


def _networks(plan: Plan, cell: Cell, folder: Path) -> list[FineTuning]:
    pretrained = plan.arm(cell.arm).pretrain is not None
    restore = str(folder / "ssl") if pretrained else None
    before = _timed(parse_config(plan.pretraining(cell, str(folder / "ssl")))) if pretrained else 0.0
    done = []
    for fraction in plan.label_fractions:
        for recipe in plan.recipes_of(cell, fraction):
            out = folder / "finetune" / f"{fraction:g}" / recipe.name
            flags = plan.finetuning(cell, fraction, recipe, restore, str(out))
            config = _lengthened(plan, cell, parse_config(flags), folder, fraction, recipe)
            seconds = _timed(config)
            # Labels that were hidden from learning and from the choice of a recipe are not hidden from scoring.
            found = predict(out, plan.split, hidden_labels=False)
            Predictions.of(found.split, found.probabilities, found.classes).save(out)
            done.append(
                FineTuning(
                    label_fraction=fraction,
                    recipe=recipe.name,
                    folder=str(out.relative_to(folder)),
                    architecture=architecture_hash(config, len(found.classes)),
                    fingerprint=found.meta["fingerprint"],
                    updates=run_length(config, sum(found.meta["train_counts"])).updates,
                    pretraining_seconds=before,
                    seconds=seconds,
                    validation=json.loads((out / "metrics.json").read_text(encoding="utf-8"))["balanced_accuracy"],
                )
            )
    return done


def _lengthened(plan: Plan, cell: Cell, config: Config, folder: Path, fraction: float, recipe: Recipe) -> Config:
    """With the epochs of the budget of an arm that pre-trains, for a baseline that is given it."""
    longer = plan.arm(cell.arm).longer
    if not longer:
        return config
    # The folders of both lie at the same depth of the study's.
    root = folder.parents[len(Path(cell.name).parts) - 1]
    others = [dataclasses.replace(cell, arm=each.name) for each in plan.pretrained()]
    # A colourisation of grey pictures has no budget.
    other = next((each for each in others if not unsuitable(root / each.name)), others[0])
    if longer == "epochs":
        epochs = config.training.epochs + parse_config(plan.pretraining(other, "unused")).training.epochs
    else:
        done = read_outcome(root / other.name)
        if done is None:
            raise UserError(f"{cell.name} is given the seconds of {other.name}, which has not finished: run that first")
        # In a final study the two may have different recipes.
        like = [one for one in done if one.label_fraction == fraction]
        same = next((one for one in like if one.recipe == recipe.name), like[0])
        lasting = _lasting_seconds(root / other.name / same.folder)
        epochs = round(config.training.epochs * (1 + same.pretraining_seconds / lasting))
    return dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=float(epochs)))


def _lasting_seconds(run: Path) -> float:
    """What a run's steps and evaluations took, by the pace after its first evaluation: what is compiled does not grow
    with the epochs.

    Raises:
        UserError: the run is too short to have a pace.
    """
    rows = read_rows(run / "metrics.jsonl")
    first = next((number for number, row in enumerate(rows) if "validation/balanced_accuracy" in row), len(rows))
    later = rows[first + 1 :]
    if not later or "seconds" not in later[0]:
        raise UserError(
            f"{run}: a run of one evaluation, or of an earlier version, has no pace by which another could be given "
            "its seconds; remove the cell's folder and run it again with a smaller --evaluate-every"
        )
    pace = sum(row["seconds"] for row in later) / (later[-1]["step"] - rows[first]["step"])
    return float(pace * later[-1]["step"])


def _pixels(plan: Plan, cell: Cell, folder: Path) -> list[FineTuning]:
    done = []
    for fraction in plan.label_fractions:
        out = folder / "finetune" / f"{fraction:g}"
        out.mkdir(parents=True, exist_ok=True)
        flags = plan.finetuning(cell, fraction, Recipe(), None, str(out))
        config = parse_config([*flags, f"--image-size={PIXELS}", "--oversampling=1"])
        began = time.monotonic()
        training = load_data(config, ("train",))
        seen = dataclasses.replace(config, data=dataclasses.replace(config.data, label_fraction=1.0))
        scored = load_data(seen, (plan.split,)).splits[plan.split]
        method = plan.arm(cell.arm).pixels
        probabilities = classify_pixels(method, training.splits["train"], scored, len(training.classes), cell.seed)
        Predictions.of(scored, probabilities, training.classes).save(out)
        seconds = time.monotonic() - began
        where = str(out.relative_to(folder))
        done.append(FineTuning(fraction, Recipe().name, where, "", training.fingerprint, 0, 0.0, seconds, None))
    return done


def _timed(config: Config) -> float:
    """Runs, resumes or finds finished a run; the seconds it took the first time, all attempts together."""
    assert config.out is not None
    # Not `with_suffix`: the names of recipes hold dots.
    clock = Path(f"{config.out}.seconds")
    began = time.monotonic()
    earlier = float(clock.read_text(encoding="utf-8")) if clock.is_file() else 0.0
    finished = is_finished(Path(config.out))
    try:
        train(config)
    finally:
        if not finished:
            clock.parent.mkdir(parents=True, exist_ok=True)
            earlier += time.monotonic() - began
            replace_text(clock, f"{earlier:.1f}\n")
    return earlier
