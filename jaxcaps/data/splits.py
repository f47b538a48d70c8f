"""Training, validation and test: the data's own, or a seeded stratified split that keeps groups together."""

from collections.abc import Sequence

import numpy as np

from data_prep.splits import SPLITS, TRAIN
from jaxcaps.data.items import Item
from jaxcaps.errors import UserError


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
