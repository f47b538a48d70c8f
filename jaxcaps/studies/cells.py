"""One cell of a study: pre-train once, fine-tune with each choice of visible labels and each recipe, score.

A cell's folder holds the run folders `ssl` and `finetune/<labels>/<recipe>`, and `outcome.json` once it has finished.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from jaxcaps.config import ALL_LABELS
from jaxcaps.errors import UserError
from jaxcaps.inference.score import predict
from jaxcaps.plan.config import Config, architecture_hash
from jaxcaps.plan.length import run_length
from jaxcaps.restoring.run_folder import is_finished
from jaxcaps.studies.design import Cell, Study
from jaxcaps.studies.notation import Recipe, study_arm
from jaxcaps.studies.outcomes import FAILED, OUTCOME, FineTuning, Predictions, read_outcome, unsuitable, write_outcome
from jaxcaps.studies.pixels import PIXELS, classify_pixels
from jaxcaps.training import train
from jaxcaps.training.setup import load_data
from jaxcaps.training.writers import read_rows, replace_text


def run_cell(study: Study, cell: Cell, folder: Path, *, keep_checkpoints: bool) -> None:
    """Runs what the cell in `folder` still lacks.

    Raises:
        UserError: as `jaxcaps.train`; `UnsuitableTask` among them.
    """
    if (folder / OUTCOME).is_file():
        return
    (folder / FAILED).unlink(missing_ok=True)
    runs = _pixels if study_arm(cell.arm).kind.pixels else _networks
    write_outcome(folder, list(runs(study, cell, folder)))
    if not keep_checkpoints:
        # They are most of a study's size; the encoder stays, as safetensors.
        for checkpoints in folder.glob("**/checkpoints"):
            shutil.rmtree(checkpoints)


def _networks(study: Study, cell: Cell, folder: Path) -> Iterator[FineTuning]:
    before = _timed(study.pretraining(cell, folder)) if cell.arm in study.pretrained else 0.0
    for labels in study.labels:
        for recipe in study.recipes_of(cell, labels):
            config = _lengthened(study, cell, labels, recipe, folder)
            seconds = _timed(config)
            assert config.out is not None
            out = Path(config.out)
            # Labels that were hidden from learning and from the choice of a recipe are not hidden from scoring.
            found = predict(out, study.split, hidden_labels=False)
            Predictions.of(found.split, found.probabilities, found.classes).save(out)
            yield FineTuning(
                labels=labels,
                recipe=recipe.name,
                folder=str(out.relative_to(folder)),
                architecture=architecture_hash(config, len(found.classes)),
                fingerprint=found.meta["fingerprint"],
                updates=run_length(config, sum(found.meta["train_counts"])).updates,
                pretraining_seconds=before,
                seconds=seconds,
                validation=json.loads((out / "metrics.json").read_text(encoding="utf-8"))["balanced_accuracy"],
            )


def _lengthened(study: Study, cell: Cell, labels: str, recipe: Recipe, folder: Path) -> Config:
    """The configuration of a fine-tuning; a longer baseline has the budget of an arm that pre-trains."""
    config = study.finetuning(cell, labels, recipe, folder)
    longer = study_arm(cell.arm).kind.longer
    if not longer:
        return config
    # The folders of both lie at the same depth of the study's.
    root = folder.parents[len(Path(cell.name).parts) - 1]
    others = [dataclasses.replace(cell, arm=name) for name in study.pretrained]
    # A colourisation of grey pictures has no budget.
    other = next((each for each in others if not unsuitable(root / each.name)), others[0])
    if longer == "epochs":
        epochs = config.training.epochs + study.pretraining(other).training.epochs
    else:
        done = read_outcome(root / other.name)
        if done is None:
            raise UserError(f"{cell.name} trains for as long as {other.name}, which has not finished; run it first")
        # In a final study the two may have different recipes.
        like = [one for one in done if one.labels == labels]
        same = next((one for one in like if one.recipe == recipe.name), like[0])
        lasting = _lasting_seconds(root / other.name / same.folder)
        epochs = round(config.training.epochs * (1 + same.pretraining_seconds / lasting))
    return dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=float(epochs)))


def _lasting_seconds(run: Path) -> float:
    """How long a run's steps and evaluations took, by the pace after its first evaluation: compilation does not grow
    with the epochs.

    Raises:
        UserError: the run is too short to have a pace.
    """
    rows = read_rows(run / "metrics.jsonl")
    first = next((number for number, row in enumerate(rows) if "validation/balanced_accuracy" in row), len(rows))
    later = rows[first + 1 :]
    if not later:
        raise UserError(
            f"{run}: random-seconds needs the time between evaluations, but this run has only one; remove the cell's "
            "folder and run it again with a smaller --evaluate-every"
        )
    pace = sum(row["seconds"] for row in later) / (later[-1]["step"] - rows[first]["step"])
    return float(pace * later[-1]["step"])


def _pixels(study: Study, cell: Cell, folder: Path) -> Iterator[FineTuning]:
    make = study_arm(cell.arm).kind.pixels
    assert make is not None
    for labels in study.labels:
        out = folder / "finetune" / labels
        out.mkdir(parents=True, exist_ok=True)
        config = study.finetuning(cell, labels, Recipe(), folder)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=PIXELS, oversampling=1))
        began = time.monotonic()
        training = load_data(config, ("train",))
        seen = dataclasses.replace(config, data=dataclasses.replace(config.data, **ALL_LABELS))
        scored = load_data(seen, (study.split,)).splits[study.split]
        probabilities = classify_pixels(make(cell.seed), training.splits["train"], scored, len(training.classes))
        Predictions.of(scored, probabilities, training.classes).save(out)
        seconds = time.monotonic() - began
        where = str(out.relative_to(folder))
        yield FineTuning(labels, Recipe().name, where, "", training.fingerprint, 0, 0.0, seconds, None)


def _timed(config: Config) -> float:
    """Completes a run unless it has finished. Returns the seconds of all attempts together."""
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
