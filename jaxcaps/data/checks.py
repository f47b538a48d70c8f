"""What must hold before training starts, and the message where it does not."""

from collections.abc import Sequence

import numpy as np

from data_prep.splits import TRAIN
from jaxcaps.data.items import SPLITS, Item
from jaxcaps.errors import UserError

LISTED = 10


def check_labelled(items: Sequence[Item], classes: tuple[str, ...], data: str) -> None:
    """
    Raises:
        UserError: no labels, an image without one, or a single class.
    """
    if not classes:
        raise UserError(f"--data={data}: the images have no labels, and fine-tuning learns from labels")
    unlabelled = [item.name for item in items if item.label is None]
    if unlabelled:
        raise UserError(
            f"--data={data}: {len(unlabelled)} of {len(items)} images have no label, the first is {unlabelled[0]}; "
            "fine-tuning needs a label for each: label them or take them out"
        )
    if len(classes) == 1:
        raise UserError(f"--data={data}: all images have the label {classes[0]!r}; a classifier needs two classes")


def check_bad_images(bad: Sequence[tuple[str, str]], count: int, allowed: float, data: str) -> None:
    """
    Raises:
        UserError: more than the allowed share of `count` images, or all of them, are unreadable.
    """
    if not bad or (len(bad) / count <= allowed and len(bad) < count):
        return
    listed = "".join(f"\n  {name}: {reason}" for name, reason in bad[:LISTED])
    more = f"\n  and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
    if len(bad) == count:
        raise UserError(f"--data={data}: none of the {count} images can be read:{listed}{more}")
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
        made: the splits that we made; each must have all classes. Of those that the data names, training must.

    Raises:
        UserError: a class is missing there.
    """
    for number, name in enumerate(classes):
        members = labels == number
        homes = set(splits[members].tolist())
        # None of its images was ours to place.
        if TRAIN not in homes and homes.isdisjoint(made):
            elsewhere = " and ".join(SPLITS[home] for home in sorted(homes)) or "no split"
            raise UserError(
                f"--data={data}: class {name!r} is in {elsewhere} but not in training, so it cannot be learnt; "
                "move some of its images to training or take the class out"
            )
        for split in made:
            if split not in homes:
                wanted = ", ".join(SPLITS[one] for one in made)
                raise UserError(
                    f"--data={data}: class {name!r} is missing from {SPLITS[split]}: its {members.sum()} images form "
                    f"{len(np.unique(groups[members]))} group(s), too few for {wanted}; "
                    "add images of it, take it out, or name the splits in the data"
                )


def check_folds(labels: np.ndarray, groups: np.ndarray, classes: tuple[str, ...], folds: int, data: str) -> None:
    """
    Raises:
        UserError: a class has fewer groups than there are folds, so that some fold would miss it.
    """
    for number, name in enumerate(classes):
        count = len(np.unique(groups[labels == number]))
        if count < folds:
            raise UserError(
                f"--data={data} --folds={folds}: class {name!r} has {count} group(s), fewer than folds; give fewer "
                "folds or take the class out"
            )
