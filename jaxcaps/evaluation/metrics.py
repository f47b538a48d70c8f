"""Metrics of a classifier's probabilities.

What a confusion matrix tells is written once, in `confusion_scores`, for any stack of matrices, so that a point
estimate and its thousand bootstrap resamples are the same arithmetic.

A ratio 0/0 is NaN, never 0 or 1: precision of a class that was never predicted, recall of a class without examples.
Macro averages are over the classes where the ratio is defined.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcaps.errors import UserError

# In the order of the printed table. All but the last two follow from the confusion matrix.
SCALAR_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "chance_adjusted_balanced_accuracy",
    "macro_f1",
    "mcc",
    "cohen_kappa",
    "macro_roc_auc",
    "ece",
)
# Guo et al. 2017, section 5.
CALIBRATION_BINS = 15


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Scores predictions; the predicted class is the most probable one, the first of equals.

    Args:
        labels: int [n], the true classes; examples of label -1 (unknown) are left out.
        probabilities: [n, classes], finite.
        class_names: the classes in order.

    Returns:
        `accuracy`; `balanced_accuracy` (mean recall over the classes present in `labels`);
        `chance_adjusted_balanced_accuracy`, (balanced - 1/K) / (1 - 1/K) with K the classes present, as
        scikit-learn's `adjusted=True`, so that always answering one of them scores 0; `macro_f1` (over the classes
        that were labelled or predicted); `mcc` (0 where it is 0/0, as in scikit-learn); `cohen_kappa`;
        `macro_roc_auc` (one class against the rest, over the classes with both positives and negatives); `ece`
        (15 equal-width bins of the top probability); `confusion_matrix` (lists, one row per true class);
        `per_class` {name: precision, recall, specificity, f1, support}; `notes`, a list of sentences on what was
        left out or is undefined. Undefined values are NaN. Every scalar is a Python float.

    Raises:
        ValueError: shapes that do not match, or a label outside the classes.
        UserError: no labelled example, or probabilities that are not finite.
    """
    from sklearn.metrics import confusion_matrix

    unlabelled = int(np.sum(np.asarray(labels) == -1))
    labels, probabilities, _ = scored_examples(labels, probabilities, len(class_names))
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, labels=np.arange(len(class_names)))
    scalars = {
        **confusion_scores(confusion),
        "macro_roc_auc": _macro_roc_auc(labels, probabilities),
        "ece": calibration_error(labels, probabilities, np.ones((len(labels), 1)))[0],
    }
    return {
        **{name: float(scalars[name]) for name in SCALAR_METRICS},
        "confusion_matrix": confusion.tolist(),
        "per_class": _per_class(confusion, class_names),
        "notes": _notes(confusion, class_names, unlabelled),
    }


def majority_baseline(train_labels: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """The same metrics for always predicting training's most common class.

    Its probabilities are training's class frequencies for every example: its ROC-AUC is 0.5, and its calibration
    error says how far training's share of that class is from this split's.

    Raises:
        UserError: no labelled training example, or no labelled example to score.
    """
    known = np.asarray(train_labels)[np.asarray(train_labels) != -1]
    if not len(known):
        raise UserError("the training split has no labelled example, so no majority class")
    frequencies = np.bincount(known, minlength=len(class_names)) / len(known)
    return classification_metrics(labels, np.tile(frequencies, (len(labels), 1)), class_names)


def scored_examples(
    labels: np.ndarray, probabilities: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labelled examples, checked.

    Returns:
        labels [scored], probabilities float64 [scored, classes], and which examples these are, bool [n].

    Raises:
        ValueError, UserError: as `classification_metrics`.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if labels.ndim != 1 or probabilities.shape != (len(labels), classes):
        raise ValueError(f"expected probabilities [{len(labels)}, {classes}], got {list(probabilities.shape)}")
    if len(labels) and not -1 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels lie between {labels.min()} and {labels.max()}, but there are {classes} classes")
    known = labels != -1
    if not known.any():
        raise UserError(f"none of the {len(labels)} examples has a label, so there is nothing to score")
    labels, probabilities = labels[known], probabilities[known]
    broken = int(np.sum(~np.isfinite(probabilities).all(axis=1)))
    if broken:
        raise UserError(
            f"the probabilities of {broken} of {len(labels)} examples are not finite: the network has diverged; "
            "train it at a lower learning rate"
        )
    return labels, probabilities, known


def confusion_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """The scalar metrics that follow from confusion matrices [..., true, predicted], each of shape [...]."""
    confusion = np.asarray(confusion, np.float64)
    total, true, predicted, hits = _margins(confusion)
    present = np.sum(true > 0, axis=-1)
    balanced = _mean_of_defined(ratio(hits, true))
    chance = ratio(np.ones_like(balanced), present)
    # Multi-class Matthews correlation (Gorodkin 2004) and kappa share the agreement beyond chance.
    agreement = hits.sum(-1) * total - np.sum(true * predicted, axis=-1)
    spread = (total**2 - np.sum(true**2, axis=-1)) * (total**2 - np.sum(predicted**2, axis=-1))
    return {
        "accuracy": ratio(hits.sum(-1), total),
        "balanced_accuracy": balanced,
        "chance_adjusted_balanced_accuracy": ratio(balanced - chance, 1 - chance),
        "macro_f1": _mean_of_defined(ratio(2 * hits, true + predicted)),
        "mcc": np.where(spread > 0, ratio(agreement, np.sqrt(spread)), 0.0),
        "cohen_kappa": ratio(agreement, total**2 - np.sum(true * predicted, axis=-1)),
    }


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error (Guo et al. 2017, equation 3) under several weightings of the examples.

    Args:
        labels: int [n].
        probabilities: [n, classes]; the largest of each row is the confidence, binned as (lower, upper].
        weights: float [n, weightings].

    Returns:
        float [weightings].
    """
    confidences = probabilities.max(axis=1)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = np.digitize(confidences, edges, right=True)
    gaps = (probabilities.argmax(axis=1) == labels) - confidences
    by_bin = np.zeros((CALIBRATION_BINS, len(labels)))
    by_bin[bins, np.arange(len(labels))] = gaps
    return np.abs(by_bin @ weights).sum(axis=0) / weights.sum(axis=0)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, NaN where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=np.asarray(denominator) != 0)


def _margins(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All examples [...], those of each true class, of each predicted class, and the right ones [..., classes]."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return confusion.sum((-2, -1)), confusion.sum(-1), confusion.sum(-2), hits


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; NaN, without a warning, where nothing is left."""
    defined = ~np.isnan(values)
    return ratio(np.sum(values, axis=-1, where=defined), defined.sum(-1))


def _macro_roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    present = np.unique(labels)
    if len(present) < 2:
        return float("nan")
    return float(np.mean([roc_auc_score(labels == index, probabilities[:, index]) for index in present]))


def _per_class(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, dict[str, float]]:
    total, true, predicted, hits = _margins(confusion.astype(np.float64))
    columns = {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, true),
        "specificity": ratio(total - true - predicted + hits, total - true),
        "f1": ratio(2 * hits, true + predicted),
    }
    return {
        name: {**{column: float(values[index]) for column, values in columns.items()}, "support": int(true[index])}
        for index, name in enumerate(class_names)
    }


def _notes(confusion: np.ndarray, class_names: Sequence[str], unlabelled: int) -> list[str]:
    notes = []
    if unlabelled:
        notes.append(f"{unlabelled} examples without a label are left out.")
    present = confusion.sum(axis=1) > 0
    absent = [name for name, here in zip(class_names, present, strict=True) if not here]
    if absent:
        notes.append(
            f"No example of {', '.join(absent)}: balanced accuracy and ROC-AUC are over the {present.sum()} classes "
            "present."
        )
    if present.sum() == 1:
        notes.append("With a single class present ROC-AUC and chance-adjusted balanced accuracy are undefined.")
    return notes
