"""The three splits, and a seeded stratified split that keeps groups together."""

import warnings

import numpy as np

from data_prep.errors import UserError

SPLITS = ("train", "validation", "test")

# What data sets call the three splits.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

TRAIN, VALIDATION, TEST = range(3)
# Unless the data says otherwise: a fifth for the test, then a quarter of the rest for validation, 60/20/20 in all.
TEST_FOLDS = 5
VALIDATION_FOLDS = 4
# Of a training split that comes with a test split but without validation, a fifth.
TRAINING_FOLDS = 5


def make_splits(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """A seeded 60/20/20 split, stratified by class, groups kept together.

    Args:
        labels: int [n], -1 where unknown; the unlabelled are spread like one more class.
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
    """Deals groups to folds of about equal size and, as far as groups allow, equal shares of the classes.

    Args:
        labels, groups, seed: as for `make_splits`.
        folds: how many, at least 2.

    Returns:
        int8 [n], the fold of each image, from 0.

    Raises:
        UserError: fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = len(np.unique(groups))
    if not 2 <= folds <= min(count, 100):
        raise UserError(f"{folds} folds of {count} groups: give 2 to {min(count, 100)} folds")
    numbers = np.zeros(len(labels), np.int8)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # That a class has fewer members than there are folds is the caller's to judge.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, held) in enumerate(splitter.split(labels, labels, groups)):
            numbers[held] = number
    return numbers


def _held_out(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """One fold of the rows: the first that leaves a member of as many classes as possible on both sides."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = labels[rows], groups[rows]
    counts = np.unique(labels, return_counts=True)[1]
    folds = min(folds, len(np.unique(groups)), counts.max())
    if folds < 2:
        raise UserError(
            f"{len(rows)} images in {len(np.unique(groups))} group(s), at most {counts.max()} of one class, are too "
            "few to split into training, validation and test; add images, or name the splits in the data"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # That a class has fewer members than there are folds is checked by the caller, on the outcome.
        warnings.simplefilter("ignore", UserWarning)
        parts = list(splitter.split(labels, labels, groups))

    def classes_on_both_sides(part: tuple[np.ndarray, np.ndarray]) -> int:
        kept, held = part
        return len(np.intersect1d(labels[kept], labels[held]))

    _, held = max(parts, key=classes_on_both_sides)
    return rows[held]
