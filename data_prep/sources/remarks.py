"""What a person should know of the names and classes of a set before it is used."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from data_prep.images.formats import SUFFIXES

# What a table holds where a program wrote a missing label as text.
MISSING = frozenset({"nan", "null", "na", "n/a", "#n/a", "<na>"})
MASK_FOLDERS = frozenset({"mask", "masks", "segmentation", "segmentations", "ground truth", "groundtruth"})
# The end of the name of a mask, such as scan_mask, scan-seg, scan_mask_1.
MASK_ENDING = re.compile(r"(?P<picture>.+)(?P<ending>[ _-](?:masks?|seg|segmentation|gt|groundtruth))(?:[ _-]?\d+)?")


def remarks(names: Sequence[str], labels: Sequence[str | None]) -> tuple[str, ...]:
    """Warnings about pictures that are named like masks or copies of others, and about classes that look mistaken.

    Args:
        names: of the pictures, with slashes.
        labels: their classes, None if unknown.
    """
    classes = Counter(label for label in labels if label is not None)
    found = (*_masks(names), *_copies(names), *_mask_folders(classes), *_missing(classes), *_same_but_for_form(classes))
    return tuple(f"Warning: {remark}" for remark in found)


def _masks(names: Sequence[str]) -> list[str]:
    pictures: dict[str, str] = {}
    for name in names:
        pictures.setdefault(PurePosixPath(name).stem.lower(), name)
    found = []
    for name in names:
        named = MASK_ENDING.fullmatch(PurePosixPath(name).stem.lower())
        if named and named["picture"] in pictures:
            found.append((name, pictures[named["picture"]], named["ending"]))
    if not found:
        return []
    name, picture, ending = found[0]
    return [
        f"{len(found)} of {len(names)} pictures are named like masks of others, such as {name} of {picture}. If they "
        f"are masks, leave them out: python -m data_prep has --exclude='*{ending}*'"
    ]


def _copies(names: Sequence[str]) -> list[str]:
    same: dict[str, list[str]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES:
            same[str(path.with_suffix(""))].append(name)
    found = [twins for twins in same.values() if len(twins) > 1]
    if not found:
        return []
    return [
        f"files beside each other have the same name but for the suffix ({len(found)} such names), such as "
        f"{' and '.join(found[0][:2])}. If one is a copy or a mask of the other, leave it out: python -m data_prep has "
        f"--exclude='*{PurePosixPath(found[0][1]).suffix}'"
    ]


def _mask_folders(classes: Counter[str]) -> list[str]:
    return [
        f"the folder {name!r} is read as a class (pictures: {count}). If they are masks, leave them out: python -m "
        f"data_prep has --exclude='{name}/*'"
        for name, count in classes.items()
        if name.lower() in MASK_FOLDERS
    ]


def _missing(classes: Counter[str]) -> list[str]:
    return [
        f"there is a class {name!r} (pictures: {count}). If it stands for a missing label, leave the label empty"
        for name, count in classes.items()
        if name.lower() in MISSING
    ]


def _same_but_for_form(classes: Counter[str]) -> list[str]:
    same: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        same["".join(name.casefold().split())].append(name)
    return [
        f"the classes {' and '.join(f'{name!r} ({classes[name]})' for name in sorted(names))} differ only in capitals "
        "or blanks. If they are one class, give them one name"
        for names in same.values()
        if len(names) > 1
    ]
