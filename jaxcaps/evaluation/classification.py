"""Full evaluation of a classifier: all metrics, the confusion matrix, scores per class, and notes.

A ratio 0/0, such as the precision of a class that was never predicted, is NaN, never 0 or 1. Macro averages leave out
such classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcaps.errors import UserError
from jaxcaps.evaluation.metrics import weighted_scores
from jaxcaps.evaluation.metrics.base import WeightedPredictions, ratio


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Scores predictions. The predicted class is the most probable one; ties go to the first.

    Args:
        labels: int [n], the true classes; examples with label -1 (unknown) are left out.
        probabilities: [n, classes], finite.
        class_names: the classes in order.

    Returns:
        Every metric of `jaxcaps.evaluation.metrics` as a float, NaN if undefined; `confusion_matrix` (lists, one row
        per true class); `per_class` {name: precision, recall, specificity, f1, support}; `notes`, sentences on what
        was left out or is undefined.

    Raises:
        ValueError: the shapes do not match, or a label is not a class.
        UserError: no example has a label, or probabilities are not finite.
    """
    unlabelled = int(np.sum(np.asarray(labels) == -1))
    labels, probabilities, _ = labelled_examples(labels, probabilities, len(class_names))
    unit_weights = np.ones((len(labels), 1))
    predictions = WeightedPredictions(labels, probabilities, unit_weights)
    return {
        **{name: float(value[0]) for name, value in weighted_scores(labels, probabilities, unit_weights).items()},
        "confusion_matrix": predictions.confusion[0].astype(int).tolist(),
        "per_class": _per_class(predictions, class_names),
        "notes": _notes(predictions.true_sum[0] > 0, class_names, unlabelled),
    }


def majority_baseline(train_labels: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Scores the baseline that always predicts the training split's most common class.

    Its probabilities are the class frequencies of training, the same for every example. Its ROC-AUC is 0.5, and its
    calibration error is the difference between the two splits in the share of that class.

    Raises:
        UserError: no training example or no example to score has a label.
    """
    known = np.asarray(train_labels)[np.asarray(train_labels) != -1]
    if not len(known):
        raise UserError("the training split has no labelled example and so no majority class; label some of its images")
    frequencies = np.bincount(known, minlength=len(class_names)) / len(known)
    return classification_metrics(labels, np.tile(frequencies, (len(labels), 1)), class_names)


def labelled_examples(
    labels: np.ndarray, probabilities: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checks predictions and leaves out examples without a label.

    Returns:
        labels [labelled], probabilities float64 [labelled, classes], and which examples these are, bool [n].

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
        raise UserError(
            f"none of the {len(labels)} examples has a label, so there is nothing to score; give labelled data"
        )
    labels, probabilities = labels[known], probabilities[known]
    broken = int(np.sum(~np.isfinite(probabilities).all(axis=1)))
    if broken:
        raise UserError(
            f"the probabilities of {broken} of {len(labels)} examples are not finite: the network diverged; "
            "train it with a lower learning rate"
        )
    return labels, probabilities, known


def class_scores(predictions: WeightedPredictions) -> dict[str, np.ndarray]:
    """Precision, recall, specificity and F1 of each class, {name: float [weightings, classes]}, NaN if undefined."""
    total = predictions.total[:, None]
    hits, true, predicted = predictions.hits, predictions.true_sum, predictions.predicted_sum
    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, true),
        "specificity": ratio(total - true - predicted + hits, total - true),
        "f1": ratio(2 * hits, true + predicted),
    }


def _per_class(predictions: WeightedPredictions, class_names: Sequence[str]) -> dict[str, dict[str, float]]:
    scores, support = class_scores(predictions), predictions.true_sum[0]
    return {
        name: {**{score: float(values[0, index]) for score, values in scores.items()}, "support": int(support[index])}
        for index, name in enumerate(class_names)
    }


def _notes(present: np.ndarray, class_names: Sequence[str], unlabelled: int) -> list[str]:
    notes = []
    if unlabelled:
        notes.append(f"Left out {unlabelled} examples without a label.")
    absent = [name for name, here in zip(class_names, present, strict=True) if not here]
    if absent:
        notes.append(
            f"No example of {', '.join(absent)}: balanced accuracy and ROC-AUC are over the {present.sum()} classes "
            "present. In macro F1 an absent class that was predicted counts as 0."
        )
    if present.sum() == 1:
        notes.append("With a single class present ROC-AUC and chance-adjusted balanced accuracy are undefined.")
    return notes
