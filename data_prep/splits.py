"""The three splits, and a seeded stratified split that keeps groups together."""

import warnings

import numpy as np

from data_prep.errors import UserError

SPLITS = ("train", "validation", "test")

# What data sets call the three splits.
SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLIT_NAMES |= dict.fromkeys(("val", "valid", "validation"), "validation")

TRAIN, VALIDATION, TEST = range(3)
# A new split takes a fifth for the test, then a quarter of the rest for validation: 60/20/20.
TEST_FOLDS = 5
VALIDATION_FOLDS = 4
# If the data has a test split but no validation, a fifth of the training split becomes validation.
TRAINING_FOLDS = 5


def make_splits(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """A seeded 60/20/20 split, stratified by class, groups kept together.

    Args:
        labels: int [n], -1 if unknown; unlabelled images are spread like one more class.
        groups: int [n], equal for the members of a group.
        seed: the same arguments give the same split.

    Returns:
        int8 [n] indices into `SPLITS`.

    Raises:
        UserError: fewer than three groups.
    """
    splits = np.zeros(len(labels), np.int8)
    splits[_held_out(np.arange(len(labels)), labels, groups, TEST_FOLDS, seed)] = TEST
    rest = np.flatnonzero(splits != TEST)
    splits[_held_out(rest, labels, groups, VALIDATION_FOLDS, seed)] = VALIDATION
    return splits


def split_training(splits: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Takes a fifth of the given training split for validation, as `make_splits` does."""
    splits = splits.copy()
    splits[_held_out(np.flatnonzero(splits == TRAIN), labels, groups, TRAINING_FOLDS, seed)] = VALIDATION
    return splits


def make_folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deals groups to folds of about equal size and, as far as the groups allow, equal shares of the classes.

    Args:
        labels, groups, seed: as for `make_splits`.
        folds: how many, at least 2.

    Returns:
        int8 [n], the fold of each image, from 0.

    Raises:
        UserError: fewer groups than folds.
    """
    count = len(np.unique(groups))
    if not 2 <= folds <= min(count, 100):
        raise UserError(f"{folds} folds of {count} groups: expected 2 to {min(count, 100)} folds")
    numbers = np.zeros(len(labels), np.int8)
    for number, (_, held) in enumerate(_folds(labels, groups, folds, seed)):
        numbers[held] = number
    return numbers


def _held_out(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """One fold of the rows: the first of those with most classes on both sides."""
    labels, groups = labels[rows], groups[rows]
    counts = np.unique(labels, return_counts=True)[1]
    folds = min(folds, len(np.unique(groups)), counts.max())
    if folds < 2:
        raise UserError(
            f"{len(rows)} images in {len(np.unique(groups))} group(s), at most {counts.max()} of one class, are too "
            "few to split into training, validation and test; add images, or name the splits in the data"
        )
    parts = _folds(labels, groups, folds, seed)
    _, held = max(parts, key=lambda part: len(np.intersect1d(labels[part[0]], labels[part[1]])))
    return rows[held]


def _folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each fold, the indices outside and inside it."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # Callers judge whether a class with fewer members than folds is a problem.
        warnings.simplefilter("ignore", UserWarning)
        return list(splitter.split(labels, labels, groups))
