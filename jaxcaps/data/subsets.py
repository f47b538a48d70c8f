"""Subsets of a data set for controlled comparisons: folds, shares of the labels, a rare class.

All are seeded, keep groups together and are independent of each other. Shares are nested: with the same seed, a larger
share contains all groups of a smaller one.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.pipeline.applying import FittedSteps
from data_prep.splits import TRAIN, VALIDATION
from jaxcaps.errors import UserError, nearest


@dataclass(frozen=True)
class Subset:
    """A subset of a data set. Default: all of it, with its own splits.

    Attributes:
        folds: if not 0, the data's splits are ignored. The groups are assigned to this many folds, and `fold` is the
            test split.
        fold: the fold used as the test split, counted from 0.
        label_fraction: share of each class, in whole groups, whose labels training and validation use.
        labels_per_class: number of images of each class, in whole groups, whose labels they use; None: no limit.
        minority: "CLASS:SHARE" reduces this class to this share of training, in whole groups; "" does nothing.
        seed: seed for the choice of groups.
    """

    folds: int = 0
    fold: int = 0
    label_fraction: float = 1.0
    labels_per_class: int | None = None
    minority: str = ""
    seed: int = 0

    def described(self) -> str:
        """Describes the subset for the log and the fingerprint; empty for the whole data set."""
        parts = []
        if self.folds:
            parts.append(f"fold {self.fold} of {self.folds} is the test split")
        if self.minority:
            parts.append(f"training keeps {self.minority.partition(':')[0]} down to {self.minority.partition(':')[2]}")
        if self.label_fraction < 1:
            parts.append(f"labels of {self.label_fraction:g} of the groups")
        if self.labels_per_class is not None:
            parts.append(f"labels of {self.labels_per_class} images of each class, in whole groups")
        return f"{'; '.join(parts)} (seed {self.seed})" if parts else ""

    def label_flag(self) -> str:
        """The flag that hides labels, as typed; empty if none are hidden."""
        if self.labels_per_class is not None:
            return f"--labels-per-class={self.labels_per_class}"
        return f"--label-fraction={self.label_fraction:g}" if self.label_fraction < 1 else ""


WHOLE = Subset()


def group_order(labels: np.ndarray, groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Position of each image's group in a random order of the groups of its class, and the size of the class.

    Args:
        labels: int [n], -1 if unknown.
        groups: int [n].
        seed: seed of the orders, one order per class.

    Returns:
        int [n], int [n]: the number of images of the class in this group and those before it, and in all its groups.
        A group of several classes counts with the class of its first image.
    """
    places, sizes_of_classes = np.empty(len(labels), int), np.empty(len(labels), int)
    # A group that spans classes counts for one of them, so that it is kept or left out as a whole.
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    labels = labels[first][member]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        names, within, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
        order = np.random.default_rng([seed, int(label) + 1]).permutation(len(names))
        ends = np.empty(len(names), int)
        ends[order] = np.cumsum(sizes[order])
        places[rows], sizes_of_classes[rows] = ends[within], len(rows)
    return places, sizes_of_classes


def with_known_labels(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Mask of the images that keep their label, bool [n]: whole groups, at most `fraction` of each class's images."""
    places, sizes = group_order(labels, groups, seed)
    return places <= (fraction + 1e-9) * sizes


def without_most_of(
    labels: np.ndarray, groups: np.ndarray, classes: tuple[str, ...], minority: str, seed: int, data: str
) -> np.ndarray:
    """Mask of the training images that remain when one class is made rare: bool [n].

    Args:
        labels, groups: int [n], of the training split.
        classes: the class names.
        minority: "CLASS:SHARE", the class and its share of the remaining images.
        seed: seed for the choice of groups.
        data: the value of `--data`, for errors.

    Raises:
        UserError: `minority` is malformed, or the class does not exist, is already rarer, or would have no image left.
    """
    name, _, text = minority.rpartition(":")
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        raise UserError(f"--minority={minority}: expected CLASS:SHARE with a share between 0 and 1, such as normal:0.1")
    if name not in classes:
        raise UserError(f"--minority={minority}: no class {name!r} in {data}{nearest(name, classes)}")
    members = labels == classes.index(name)
    wanted = share / (1 - share) * np.sum(~members)
    if wanted > members.sum():
        raise UserError(
            f"--minority={minority}: {name!r} is already rarer, {members.mean():.3g} of training; give a smaller share"
        )
    known = members & with_known_labels(np.where(members, 0, 1), groups, wanted / members.sum(), seed)
    if not known.any():
        raise UserError(
            f"--minority={minority}: {wanted:.1f} images of {name!r} would remain, fewer than in any of its groups; "
            "give a larger share"
        )
    return ~members | known


def check_fitted(prepared: FittedSteps | None, data: str, folds: int) -> None:
    if prepared is not None and prepared.reference is not None:
        raise UserError(
            f"--data={data} --folds={folds}: its preparation fitted histogram matching on the data's own training "
            "split, and folds would use these pictures for testing; prepare it without that step, or drop --folds"
        )


def left_out(
    labels: np.ndarray,
    groups: np.ndarray,
    readable: np.ndarray,
    assigned: np.ndarray,
    classes: tuple[str, ...],
    data: str,
    subset: Subset,
) -> np.ndarray:
    """The training rows to leave out to make one class rare."""
    training = np.flatnonzero(readable & (assigned == TRAIN))
    if not subset.minority:
        return training[:0]
    kept = without_most_of(labels[training], groups[training], classes, subset.minority, subset.seed, data)
    return training[~kept]


def hidden(
    labels: np.ndarray,
    groups: np.ndarray,
    readable: np.ndarray,
    assigned: np.ndarray,
    classes: tuple[str, ...],
    subset: Subset,
) -> np.ndarray:
    """The labels, with -1 for those hidden from training and validation. Shares refer to the readable images.

    Raises:
        UserError: a class would have no label left in training, or has fewer images there than labels are wanted.
    """
    flag, count = subset.label_flag(), subset.labels_per_class
    if not flag:
        return labels
    labels = labels.copy()
    for split in (TRAIN, VALIDATION):
        rows = np.flatnonzero(readable & (assigned == split) & (labels >= 0))
        if count is None:
            known = with_known_labels(labels[rows], groups[rows], subset.label_fraction, subset.seed)
        else:
            known = group_order(labels[rows], groups[rows], subset.seed)[0] <= count
        for number, name in enumerate(classes if split == TRAIN else ()):
            members = labels[rows] == number
            has = f"class {name!r}, which has {members.sum()} training images"
            if count is not None and 0 < members.sum() < count:
                raise UserError(f"{flag} wants more labels than there are of {has}; give at most {members.sum()}")
            if members.any() and not known[members].any():
                parts = len(np.unique(groups[rows[members]]))
                raise UserError(
                    f"{flag} leaves no label of {has} in {parts} group(s); give a larger "
                    f"{'share' if count is None else 'number'}"
                )
        labels[rows[~known]] = -1
    return labels
