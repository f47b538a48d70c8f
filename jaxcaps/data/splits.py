"""Training, validation and test: the data's own, or a seeded stratified split that keeps groups together."""

import warnings
from collections.abc import Sequence

import numpy as np

from jaxcaps.data.items import SPLITS, Item
from jaxcaps.errors import UserError

TRAIN, VALIDATION, TEST = range(3)
# Unless the data says otherwise: a fifth for the test, then a quarter of the rest for validation, 60/20/20 in all.
TEST_FOLDS = 5
VALIDATION_FOLDS = 4
# Of a training split that comes with a test split but without validation, a fifth.
TRAINING_FOLDS = 5


def check_groups(items: Sequence[Item], data: str) -> None:
    """
    Raises:
        UserError: a group has images in two splits.
    """
    homes: dict[str, str] = {}
    for item in items:
        if item.group is None or item.split is None:
            continue
        home = homes.setdefault(item.group, item.split)
        if home != item.split:
            raise UserError(
                f"--data={data}: group {item.group!r} is in two splits, {home} and {item.split}; a group must stay "
                "together, else the score counts what was learnt by heart. Correct the split or the group"
            )


def given_splits(items: Sequence[Item], data: str) -> np.ndarray | None:
    """The splits that the data names.

    Returns:
        int8 [n] indices into `SPLITS`, or None where the data names no split.

    Raises:
        UserError: some images have a split and others none, or there is no training split.
    """
    unnamed = [item.name for item in items if item.split is None]
    if len(unnamed) == len(items):
        return None
    if unnamed:
        raise UserError(
            f"--data={data}: {len(unnamed)} of {len(items)} images have no split, the first is {unnamed[0]}; name the "
            "split of all images or of none"
        )
    splits = np.array([SPLITS.index(item.split) for item in items if item.split is not None], np.int8)
    if not np.any(splits == TRAIN):
        raise UserError(f"--data={data}: no image is in the training split; expected some with split train")
    return splits


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
