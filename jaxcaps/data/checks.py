"""Checks of the data before training starts."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from data_prep.splits import TRAIN
from jaxcaps.data.items import SPLITS
from jaxcaps.data.splits import called, members
from jaxcaps.errors import UserError

LISTED = 10


# What labels are needed for: "training" a classifier, scoring predictions ("required"), or nothing ("optional").
Labels = Literal["training", "required", "optional"]


def check_labels(classes: tuple[str, ...], needed: Labels, data: str) -> None:
    """
    Raises:
        UserError: labels are needed and there are none, or there is only one class to train on.
    """
    if needed == "optional":
        return
    if not classes:
        purpose = "fine-tuning" if needed == "training" else "scoring"
        raise UserError(f"--data={data}: the images have no labels, but {purpose} needs them; give labelled data")
    if needed == "training" and len(classes) == 1:
        raise UserError(f"--data={data}: all images have the label {classes[0]!r}; a classifier needs two classes")


def check_shown(
    known: np.ndarray, shown: np.ndarray, assigned: np.ndarray, wanted: Sequence[str], flag: str, data: str
) -> None:
    """
    Args:
        known: int [n], the labels of the data, -1 if unknown.
        shown: int [n], the same with -1 for labels that are hidden.
        assigned: int [n], indices into `SPLITS`.
        wanted: the splits that need labels.
        flag: hides them, as typed.

    Raises:
        UserError: one of these splits has no visible label.
    """
    for name in wanted:
        rows = members(assigned, name)
        if not rows.any() or (shown[rows] >= 0).any():
            continue
        if (known[rows] >= 0).any():
            raise UserError(f"{flag} leaves no label in the {name} split; show more labels")
        raise UserError(
            f"--data={data}: none of the {rows.sum()} images of the {called(name)} has a label; label some of them, "
            "or give another split"
        )


def check_bad_images(bad: Sequence[tuple[str, str]], count: int, allowed: float, data: str) -> None:
    """
    Raises:
        UserError: more than the allowed share of the `count` images, or all of them, are unreadable.
    """
    if not bad or (len(bad) / count <= allowed and len(bad) < count):
        return
    listed = "".join(f"\n  {name}: {reason}" for name, reason in bad[:LISTED])
    more = f"\n  and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
    if len(bad) == count:
        raise UserError(f"--data={data}: none of the {count} images can be read; check the files:{listed}{more}")
    raise UserError(
        f"--data={data}: {len(bad)} of {count} images cannot be read, more than --max-bad-images={allowed:g} "
        f"({allowed:.3g} x {count} = {allowed * count:.4g}) allows:{listed}{more}"
    )


def check_classes(
    labels: np.ndarray,
    groups: np.ndarray,
    splits: np.ndarray,
    classes: tuple[str, ...],
    data: str,
    *,
    made: tuple[int, ...],
) -> None:
    """
    Args:
        labels, groups, splits: int [n], of the images that can be read.
        made: the splits that were made here. Each of them needs all classes. Of splits that the data names, only
            training does.

    Raises:
        UserError: a class is missing.
    """
    for number, name in enumerate(classes):
        members = labels == number
        homes = set(splits[members].tolist())
        # The data assigned all of its images.
        if TRAIN not in homes and homes.isdisjoint(made):
            elsewhere = " and ".join(SPLITS[home] for home in sorted(homes)) or "no split"
            raise UserError(
                f"--data={data}: class {name!r} is in {elsewhere} but not in training, so it cannot be learned; "
                "move some of its images to training, or remove the class"
            )
        for split in made:
            if split not in homes:
                wanted = ", ".join(SPLITS[one] for one in made)
                raise UserError(
                    f"--data={data}: class {name!r} is missing from {SPLITS[split]}: its {members.sum()} images form "
                    f"{len(np.unique(groups[members]))} group(s), too few for {wanted}; "
                    "add images of it, remove it, or name the splits in the data"
                )


def check_folds(labels: np.ndarray, groups: np.ndarray, classes: tuple[str, ...], folds: int, data: str) -> None:
    """
    Raises:
        UserError: a class has fewer groups than there are folds, so some fold would have none of it.
    """
    for number, name in enumerate(classes):
        count = len(np.unique(groups[labels == number]))
        if count < folds:
            raise UserError(
                f"--data={data} --folds={folds}: class {name!r} has {count} group(s), fewer than folds; give fewer "
                "folds, or remove the class"
            )
