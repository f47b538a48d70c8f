"""Training, validation and test splits: from the data, or a seeded stratified split that keeps groups together."""

from collections.abc import Sequence

import numpy as np

from data_prep.splits import SPLITS, TEST, TRAIN, VALIDATION, make_folds, make_splits, split_training
from jaxcaps.data.items import Item
from jaxcaps.errors import UserError

# In place of the name of a split: all images, whatever splits the data names.
ALL = "all"


def members(assigned: np.ndarray, split: str) -> np.ndarray:
    """Mask of the images of a split, or of `ALL`, bool [n]; `assigned` has indices into `SPLITS`."""
    return assigned >= 0 if split == ALL else assigned == SPLITS.index(split)


def called(split: str) -> str:
    """What messages call the images of a split, or of `ALL`."""
    return "data" if split == ALL else f"{split} split"


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
                "in one split, or scores are too high. Correct the split or the group"
            )


def given_splits(items: Sequence[Item], data: str, wanted: Sequence[str]) -> np.ndarray | None:
    """Returns the splits that the data names.

    Args:
        items: the images.
        data: the value of `--data`, for errors.
        wanted: the splits to load. Loading only the test split needs no training split.

    Returns:
        int8 [n] indices into `SPLITS`, or None if the data names no split.

    Raises:
        UserError: only some images have a split, or the training split is needed but empty.
    """
    unnamed = [item.name for item in items if item.split is None]
    if len(unnamed) == len(items):
        return None
    if unnamed:
        raise UserError(
            f"--data={data}: {len(unnamed)} of {len(items)} images have no split, such as {unnamed[0]}; give all "
            "images a split, or none"
        )
    splits = np.array([SPLITS.index(item.split) for item in items if item.split is not None], np.int8)
    if not np.any(splits == TRAIN) and tuple(wanted) != ("test",):
        raise UserError(f"--data={data}: no image is in the training split; give some images the split train")
    return splits


def is_complete(given: np.ndarray) -> bool:
    """Whether the splits are complete. A training split without validation still has to be divided."""
    return VALIDATION in given or TRAIN not in given


def assign(
    given: np.ndarray | None,
    labels: np.ndarray,
    groups: np.ndarray,
    readable: np.ndarray,
    seed: int,
    data: str,
    *,
    folds: int = 0,
    fold: int = 0,
) -> tuple[np.ndarray, tuple[int, ...], str]:
    """Assigns every image to a split.

    Args:
        given: the splits that the data names, see `given_splits`.
        labels, groups: int [n].
        readable: bool [n].
        seed: seed of the splits made here.
        data: the value of `--data`, for errors.
        folds: if not 0, `given` is ignored and the groups are assigned to this many folds.
        fold: the fold used as the test split. Validation is a fifth of the others.

    Returns:
        int8 [n] indices into `SPLITS` (-1 if unreadable, unless all splits are given); the splits that were made here;
        a note for the log.

    Raises:
        UserError: there are too few groups.
    """
    if not folds and given is not None and is_complete(given):
        return given, (), "Split: the data's own."
    assigned = np.full(len(labels), -1, np.int8)
    kept = np.flatnonzero(readable)
    try:
        if folds:
            dealt = make_folds(labels[kept], groups[kept], folds, seed)
            test = np.where(dealt == fold, TEST, TRAIN).astype(np.int8)
            assigned[kept] = split_training(test, labels[kept], groups[kept], seed)
        elif given is None:
            assigned[kept] = make_splits(labels[kept], groups[kept], seed)
        else:
            assigned[kept] = split_training(given[kept], labels[kept], groups[kept], seed)
    except UserError as error:
        raise UserError(f"--data={data}: {error}") from error
    how = f"stratified by class, groups kept together, seed {seed}"
    if folds:
        note = f"Split: test is fold {fold} of {folds}, validation a fifth of the rest, {how}."
        return assigned, (TRAIN, VALIDATION, TEST), note
    if given is None:
        return assigned, (TRAIN, VALIDATION, TEST), f"Split: made here, 60/20/20, {how}."
    return assigned, (TRAIN, VALIDATION), f"Split: the data's own; validation is a fifth of training, {how}."
