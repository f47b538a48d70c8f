"""The results of a study: a row for each fine-tuning, and arms compared pair by pair."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from jaxcaps.errors import UserError
from jaxcaps.evaluation.classification import classification_metrics
from jaxcaps.evaluation.metrics import ordered_metrics
from jaxcaps.evaluation.paired import Estimate, Resampled, difference, holm, level, resample
from jaxcaps.studies.design import Cell, Choice, Study
from jaxcaps.studies.execution import folder_of
from jaxcaps.studies.notation import Recipe, study_arm
from jaxcaps.studies.outcomes import FineTuning, Predictions, read_outcome

COMPARED = tuple(name for name, metric in ordered_metrics().items() if metric.in_studies)


@dataclass(frozen=True)
class Result:
    """One fine-tuning and its predictions of the scored split."""

    cell: Cell
    run: FineTuning
    predictions: Predictions

    def score(self, metric: str) -> float:
        found = self.predictions
        return float(classification_metrics(found.labels, found.probabilities, list(found.classes))[metric])


def gather(study: Study, out: Path) -> list[Result]:
    """The fine-tunings of all finished cells.

    Raises:
        UserError: arms that are compared have seen other data, another architecture or other numbers of updates.
    """
    results = []
    for cell in study.cells():
        folder = folder_of(out, cell)
        for run in read_outcome(folder) or ():
            results.append(Result(cell, run, Predictions.load(folder / run.folder)))
    _check_comparable(study, results)
    return results


def _check_comparable(study: Study, results: Sequence[Result]) -> None:
    # In a final study each arm has the recipe that was chosen for it, and recipes may differ in length and loss. Their
    # networks were compared before the study ran.
    final = bool(study.chosen)
    known = {(one.cell, one.run.labels, "" if final else one.run.recipe): one.run for one in results}
    for one in results:
        arm = study_arm(one.cell.arm)
        reference = dataclasses.replace(one.cell, arm=study.reference(arm))
        other = known.get((reference, one.run.labels, "" if final else one.run.recipe))
        if arm.kind.baseline or other is None:
            continue
        for name in ("fingerprint",) if final or study.against else ("architecture", "fingerprint", "updates"):
            found, wanted = getattr(one.run, name), getattr(other, name)
            if found != wanted:
                raise UserError(
                    f"{one.cell.name} and {reference.name} cannot be compared: {name} {found} and {wanted}. Data or "
                    "code has changed between them; remove the folder of the older cell and repeat the command"
                )


def choose(study: Study, results: Sequence[Result]) -> tuple[Choice, ...]:
    """The recipe of each arm, choice of visible labels and fold: the best mean over seeds of `FineTuning.validation`.

    This score uses the visible labels alone. Of equal recipes the first is taken. Every arm chooses in the
    same way, from the same grid.
    """
    choices = []
    for arm in study.arms:
        if arm.kind.pixels:
            continue
        for labels in study.labels:
            for fold in study.fold_numbers:
                means = {}
                for recipe in study.recipes:
                    scores = [
                        one.run.validation
                        for one in results
                        if one.run.validation is not None
                        and (one.cell.arm, one.cell.fold) == (arm.name, fold)
                        and (one.run.labels, one.run.recipe) == (labels, recipe.name)
                    ]
                    if scores:
                        means[recipe.name] = float(np.mean(scores))
                if means:
                    choices.append(Choice(arm.name, labels, fold, max(means, key=means.__getitem__)))
    return tuple(choices)


@dataclass(frozen=True)
class Line:
    """A line of the table: an arm with one choice of visible labels and one recipe.

    Attributes:
        arm, labels, recipe: what it is.
        seeds: those that all of the comparison has.
        scores: {metric: one value for each seed, folds pooled}.
        levels: {metric: their mean, with its interval}.
        differences: {metric: from the reference arm}; empty for the reference itself.
        relative: of the accuracy, as a share of the reference's; None for the reference itself.
        images: scored for each seed.
    """

    arm: str
    labels: str
    recipe: str
    seeds: tuple[int, ...]
    scores: dict[str, np.ndarray]
    levels: dict[str, Estimate]
    differences: dict[str, Estimate]
    relative: Estimate | None
    images: int


def compare(study: Study, results: Sequence[Result], *, chosen_only: bool = False) -> list[Line]:
    """Every arm with every recipe against its reference with the same.

    Folds are pooled: a seed's predictions of all folds are scored together. Only seeds with all folds in both arms take
    part. With `chosen_only` each arm has the recipe that it chose in each fold, and these may differ.
    """
    lines = []

    @cache
    def resampled(arm: str, labels: str, recipe: str, seeds: tuple[int, ...]) -> tuple[Resampled, int]:
        found = [_pooled(study, results, arm, labels, recipe, seed) for seed in seeds]
        first, stacked = found[0], np.stack([one.probabilities for one in found])
        value = resample(first.labels, stacked, [str(name) for name in first.classes], first.groups)
        return value, len(first.labels)

    recipes = [""] if chosen_only else [recipe.name for recipe in study.recipes]
    for labels in study.labels:
        for recipe in recipes:
            for arm in study.arms:
                # Classifiers of pixels have no recipe: in a grid they stand beside the first, and are not compared.
                if arm.kind.pixels and recipe != recipes[0]:
                    continue
                own = Recipe().name if arm.kind.pixels and recipe else recipe
                seeds = _whole_seeds(study, results, arm.name, labels, own)
                if not seeds:
                    continue
                reference = study.reference(arm)
                shared = seeds & _whole_seeds(study, results, reference, labels, recipe)
                compared = arm.name != reference and bool(shared) and not (arm.kind.pixels and len(recipes) > 1)
                used = tuple(sorted(shared if compared else seeds))
                value, images = resampled(arm.name, labels, own, used)
                differences: dict[str, Estimate] = {}
                relative = None
                if compared:
                    other, _ = resampled(reference, labels, recipe, used)
                    differences = {metric: difference(value, other, metric) for metric in COMPARED}
                    relative = difference(value, other, "accuracy", relative=True)
                scores = {metric: value.point[metric] for metric in COMPARED}
                levels = {metric: level(value, metric) for metric in COMPARED}
                title = own if own else "chosen"
                lines.append(Line(arm.name, labels, title, used, scores, levels, differences, relative, images))
    return lines


def corrected(lines: Iterable[Line], metric: str) -> dict[tuple[str, str, str], float]:
    """P-values of a metric's differences, corrected for their number (Holm)."""
    compared = [line for line in lines if metric in line.differences]
    values = holm([line.differences[metric].p_value for line in compared])
    return {(line.arm, line.labels, line.recipe): value for line, value in zip(compared, values, strict=True)}


def _of(study: Study, results: Sequence[Result], arm: str, labels: str, recipe: str, seed: int) -> list[Result]:
    """Returns the results of a seed, in the order of the folds. An empty `recipe` stands for all recipes."""
    return [
        one
        for one in results
        if (one.cell.arm, one.cell.seed, one.run.labels) == (arm, seed, labels) and recipe in ("", one.run.recipe)
    ]


def _whole_seeds(study: Study, results: Sequence[Result], arm: str, labels: str, recipe: str) -> set[int]:
    """Returns the seeds with results of all folds."""
    folds = max(study.folds, 1)
    return {seed for seed in study.seeds if len(_of(study, results, arm, labels, recipe, seed)) == folds}


def _pooled(study: Study, results: Sequence[Result], arm: str, visible: str, recipe: str, seed: int) -> Predictions:
    """The predictions of all folds, in each sorted by name, so that arms and seeds line up.

    Test splits of folds share no image. Validation splits may: an image is then scored once for each, and its group
    is drawn with all of them.
    """
    parts = []
    for one in _of(study, results, arm, visible, recipe, seed):
        found = one.predictions
        order = np.argsort(found.names, kind="stable")
        parts.append((found.names[order], found.labels[order], found.groups[order], found.probabilities[order]))
    classes = results[0].predictions.classes
    names, labels, groups, probabilities = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Predictions(names, labels, groups, probabilities, classes)
