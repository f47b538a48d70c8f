"""Two runs on the same validation pictures: paired differences, and the pictures on which they disagree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcaps.errors import UserError
from jaxcaps.evaluation.metrics import ordered_metrics
from jaxcaps.evaluation.paired import Estimate, Resampled, difference, level, resample
from jaxcaps.reporting.results import Predicted, Results


@dataclass(frozen=True)
class Comparison:
    """A run compared with the run of the page.

    Attributes:
        other: the run compared.
        levels: {metric: its value in the run of the page and in the other}.
        differences: {metric: the run of the page minus the other}.
        disagreements: int [n], the pictures with different predicted classes. Those come first for which the
            probability of the true class differs most.
        probabilities: float [n, classes], those of the other run, in the order of the pictures of the page.
        only_mine, only_theirs: the number of labelled pictures that only one of the runs predicts correctly.
    """

    other: Results
    levels: dict[str, tuple[Estimate, Estimate]]
    differences: dict[str, Estimate]
    disagreements: np.ndarray
    probabilities: np.ndarray
    only_mine: int
    only_theirs: int


def compare(mine: Results, others: Sequence[Results]) -> list[Comparison]:
    """Compares each run with `mine`, in resamples of groups that they share.

    Raises:
        UserError: a run is not a classifier, or was validated with other classes or pictures.
    """
    first = _classifier(mine)
    for other in others:
        _check_same(mine, other)
    scores = _resample(first, first.groups)
    return [_compared(first, scores, other) for other in others]


def _compared(first: Predicted, scores: Resampled, other: Results) -> Comparison:
    second = _matched(_classifier(other), first)
    theirs = _resample(second, first.groups)
    apart = np.flatnonzero(first.predicted != second.predicted)
    # For a picture without a label: the class that the run of the page predicts.
    judged = np.where(first.labels < 0, first.predicted, first.labels)
    each = np.arange(len(judged))
    gap = np.abs(first.probabilities[each, judged] - second.probabilities[each, judged])
    mine_right, theirs_right = (one.predicted == first.labels for one in (first, second))
    return Comparison(
        other,
        {name: (level(scores, name), level(theirs, name)) for name in ordered_metrics()},
        {name: difference(scores, theirs, name) for name in ordered_metrics()},
        apart[np.argsort(-gap[apart], kind="stable")],
        second.probabilities,
        int(np.sum(mine_right & ~theirs_right)),
        int(np.sum(theirs_right & ~mine_right)),
    )


def run_names(mine: Results, other: Results) -> tuple[str, str]:
    """The names of two runs, with the folder above if they are equal."""
    if mine.name != other.name:
        return mine.name, other.name
    first, second = (Path(run.origin).absolute() for run in (mine, other))
    return f"{first.parent.name}/{first.name}", f"{second.parent.name}/{second.name}"


def _resample(of: Predicted, groups: np.ndarray) -> Resampled:
    return resample(of.labels, of.probabilities[None], of.classes, groups)


def _matched(predicted: Predicted, like: Predicted) -> Predicted:
    """The predictions in the order of `like`."""
    places = {name: number for number, name in enumerate(predicted.names)}
    order = np.array([places[name] for name in like.names])
    return Predicted(
        like.names, predicted.groups[order], predicted.labels[order], predicted.probabilities[order], predicted.classes
    )


def _classifier(run: Results) -> Predicted:
    if run.predicted is None:
        raise UserError(f"{run.origin} is a pre-training run, which predicts no classes; compare fine-tuned runs")
    return run.predicted


def _check_same(mine: Results, other: Results) -> None:
    first, second = _classifier(mine), _classifier(other)
    if first.classes != second.classes:
        raise UserError(
            f"--compare={other.origin}: its classes are {list(second.classes)}, but those of {mine.origin} are "
            f"{list(first.classes)}; compare runs with the same classes"
        )
    ours, theirs = set(first.names), set(second.names)
    if ours != theirs:
        odd = min(ours ^ theirs)
        raise UserError(
            f"--compare={other.origin}: it was validated on other pictures: {len(ours & theirs)} of "
            f"{len(ours | theirs)} are in both runs, and {odd} is not; compare runs with the same --data, --split-seed "
            "and --folds"
        )
    known = dict(zip(second.names, second.labels.tolist(), strict=True))
    changed = [name for name, label in zip(first.names, first.labels.tolist(), strict=True) if known[name] != label]
    if changed:
        raise UserError(
            f"--compare={other.origin}: {len(changed)} validation pictures have another label there, such as "
            f"{changed[0]}; the labels changed between the runs, so train one of them again"
        )
