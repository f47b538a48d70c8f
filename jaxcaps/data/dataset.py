"""Loads the examples of each split from `--data`: opens, checks, splits and decodes them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.images.duplicates import HASH_BITS, LARGEST_DISTANCE, clusters
from data_prep.images.reading import DARK
from data_prep.pipeline.applying import FittedSteps
from data_prep.sources.remarks import remarks
from data_prep.splits import TEST, TRAIN
from jaxcaps.data.checks import Labels, check_bad_images, check_classes, check_folds, check_labels, check_shown
from jaxcaps.data.decoding import BadImage, to_square
from jaxcaps.data.items import SPLITS, Item, class_names
from jaxcaps.data.reading import Pictures, Reader
from jaxcaps.data.source import Source
from jaxcaps.data.sources import open_source
from jaxcaps.data.splits import ALL, assign, called, check_groups, given_splits, is_complete, members
from jaxcaps.data.subsets import WHOLE, Subset, check_fitted, hidden, left_out
from jaxcaps.errors import UserError


@dataclass(frozen=True, eq=False)
class Split:
    """The examples of one split, in order.

    Attributes:
        names: the names of the examples in the source.
        labels: int32 [n], indices into the classes, -1 if unknown.
        groups: int32 [n], equal for examples of one group, across all splits.
        has_groups: whether the data has groups; if not, each example is its own group.
        images: uint8 [n, size, size, channels], or None if the split is too large to keep in memory.
        source, rows, image_size, channels: how `read` decodes pictures that are not in memory.
        contents: bytes [n], what each picture is known by, see `reading.content`.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray
    has_groups: bool
    images: np.ndarray | None
    source: Source
    rows: np.ndarray
    image_size: int
    contents: np.ndarray
    channels: int = 3

    def __len__(self) -> int:
        return len(self.names)

    def part(self, indices: np.ndarray) -> "Split":
        """Selects some of the examples."""
        images = None if self.images is None else self.images[indices]
        names = tuple(self.names[index] for index in indices)
        arrays = {name: getattr(self, name)[indices] for name in ("labels", "groups", "rows", "contents")}
        return replace(self, names=names, images=images, **arrays)

    def read(self, index: int) -> np.ndarray:
        """Returns one picture, uint8 [size, size, channels].

        Raises:
            UserError: the picture can no longer be read.
        """
        if self.images is not None:
            return self.images[index]
        try:
            return to_square(self.source.read(int(self.rows[index])), self.image_size, self.channels)
        except BadImage as error:
            raise UserError(f"{self.names[index]} can no longer be read: {error}; restore it and resume") from error


@dataclass(frozen=True, eq=False)
class Dataset:
    """The data of a run.

    Attributes:
        classes: the class names, sorted, numerically if all are numbers; empty without labels.
        splits: the requested splits.
        bad_images: name and reason for each image that was skipped.
        notes: sentences for the log, such as how the data was split and the counts by split and class.
        fingerprint: SHA-256 of names, labels, groups, splits and the picture shape.
        prepared: the steps with which `data_prep` made the pictures, or None.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    bad_images: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    fingerprint: str
    prepared: FittedSteps | None = None


def load_dataset(
    *,
    data: str,
    image_size: int,
    labels: Labels,
    split_seed: int,
    synthetic_count: int,
    synthetic_seed: int,
    max_bad_images: float,
    cache_bytes: int,
    splits: tuple[str, ...] = SPLITS,
    subset: Subset = WHOLE,
    channels: int = 3,
    change: Callable[[Source], Source] = lambda source: source,
) -> Dataset:
    """Loads the named splits.

    Images in the requested splits are decoded once, in threads. A data set without groups and splits is decoded
    completely, to find near-duplicates before it is split. The pictures of a split are kept if they fit in memory.
    Otherwise they are decoded once to find bad images before training starts, and again when they are used.

    Args:
        data: the value of `--data`, see `open_source`.
        image_size: side in pixels of the square that images are resized to.
        labels: "training" to train a classifier, which needs two classes and training images of each; "required" to
            score predictions; else "optional". Unless labels are optional, each split needs some, and unlabelled
            images are left out of training.
        split_seed: seed of the split, if the data names no splits.
        synthetic_count: frames of the built-in set.
        synthetic_seed: seed of the built-in set.
        max_bad_images: largest share of unreadable images to skip.
        cache_bytes: largest size of the pictures kept in memory.
        splits: which of "train", "validation" and "test" to load; or ("all",) for all images as one split.
        subset: folds instead of the data's splits, fewer labels, a rare class. Images with a hidden label count as
            unlabelled. Labels of the test split are never hidden.
        channels: 3 for RGB, 1 for grey.
        change: what to put in place of the opened source, such as one that prepares its pictures.

    Raises:
        UserError: the data is invalid or cannot be read.
    """
    source = open_source(data, synthetic_count=synthetic_count, synthetic_seed=synthetic_seed, image_size=image_size)
    source = change(source)
    items = source.items
    classes = class_names(items)
    check_labels(classes, labels, data)
    if splits == (ALL,):
        given: np.ndarray | None = np.full(len(items), TEST, np.int8)
    elif subset.folds:
        check_fitted(source.prepared, data, subset.folds)
        given = None
    else:
        check_groups(items, data)
        given = given_splits(items, data, splits)
    known = _labels(items, classes)
    groups, has_groups = _groups(items)
    reader = Reader(source, image_size, channels, cache_bytes)
    readable = np.ones(len(items), bool)
    notes = [*source.notes, *remarks([item.name for item in items], [item.label for item in items])]

    complete = given is not None and is_complete(given)
    clustered: Pictures | None = None
    if not (has_groups or complete):
        rows = np.arange(len(items)) if given is None else np.flatnonzero(given != TEST)
        clustered = reader.read(rows, hashes=True)
        check_bad_images(reader.bad, reader.count, max_bad_images, data)
        readable[np.setdiff1d(rows, clustered.rows)] = False
        groups, has_groups, note = _clustered(groups, clustered)
        notes.append(note)

    if subset.folds:
        check_folds(known[readable], groups[readable], classes, subset.folds, data)
    assigned, made, note = assign(
        given, known, groups, readable, split_seed, data, folds=subset.folds, fold=subset.fold
    )
    notes.append("All images, whatever splits the data names." if splits == (ALL,) else note)
    unlabelled = readable & (assigned == TRAIN) & (known < 0)
    if labels != "optional" and unlabelled.any():
        readable[unlabelled] = False
        notes.append(f"Training leaves out {unlabelled.sum()} images without a label.")
    readable[left_out(known, groups, readable, assigned, classes, data, subset)] = False
    shown = hidden(known, groups, readable, assigned, classes, subset)
    if labels != "optional":
        check_shown(known, shown, assigned, splits, subset.label_flag(), data)
        readable[(shown < 0) & (assigned == TRAIN)] = False
    if subset.described():
        notes.append(f"Subset: {subset.described()}.")
    parts: dict[str, Pictures] = {}
    for name in splits:
        rows = np.flatnonzero(readable & members(assigned, name))
        decoded = clustered is not None and np.isin(rows, clustered.rows).all()
        parts[name] = clustered.part(rows) if clustered is not None and decoded else reader.read(rows)
        readable[np.setdiff1d(rows, parts[name].rows)] = False
    check_bad_images(reader.bad, reader.count, max_bad_images, data)
    if reader.dark:
        notes.append(
            f"Warning: {len(reader.dark)} of {reader.count} pictures have no value above {DARK - 1} of 255, such as "
            f"{reader.dark[0]}. If they are 10- or 14-bit values in 16-bit files, scale them; if they are maps of "
            "numbered regions, leave them out"
        )
    for name, part in parts.items():
        if not len(part.rows):
            raise UserError(f"--data={data}: the {called(name)} has no readable image; add images to it")

    if labels == "training" and (given is None or TRAIN in given):
        check_classes(known[readable], groups[readable], assigned[readable], classes, data, made=made)
    for name in splits if splits == (ALL,) else SPLITS:
        notes.extend(_counts(name, shown[readable & members(assigned, name)], classes))
    streamed = [name for name, part in parts.items() if part.images is None]
    if streamed:
        notes.append(f"Streaming {' and '.join(streamed)}: decoded, they would exceed --cache-mb.")
    return Dataset(
        classes=classes,
        splits={
            name: Split(
                names=tuple(items[row].name for row in part.rows),
                labels=shown[part.rows],
                groups=groups[part.rows],
                has_groups=has_groups,
                images=part.images,
                source=source,
                rows=part.rows,
                image_size=image_size,
                contents=part.contents,
                channels=channels,
            )
            for name, part in parts.items()
        },
        bad_images=reader.bad,
        notes=tuple(notes),
        fingerprint=_fingerprint(items, groups, assigned, readable, image_size, channels, subset),
        prepared=source.prepared,
    )


def _labels(items: Sequence[Item], classes: tuple[str, ...]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([-1 if item.label is None else numbers[item.label] for item in items], np.int32)


def _groups(items: Sequence[Item]) -> tuple[np.ndarray, bool]:
    """Numbers the groups in order of appearance, and says whether the data has any."""
    numbers: dict[object, int] = {}
    # An image without a group is its own group. Its key is its index, an int, which no group name equals.
    keys = [index if item.group is None else item.group for index, item in enumerate(items)]
    groups = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)
    return groups, any(item.group is not None for item in items)


def _clustered(groups: np.ndarray, pictures: Pictures) -> tuple[np.ndarray, bool, str]:
    """Groups near-duplicates. Returns the groups, whether there are near-duplicates, and a note."""
    assert pictures.hashes is not None
    found = clusters(pictures.hashes)
    # Each unreadable image stays its own group.
    merged = groups.copy()
    merged[pictures.rows] = len(groups) + found
    groups = np.unique(merged, return_inverse=True)[1].astype(np.int32)
    sizes = np.bincount(found)
    note = (
        f"Near-duplicates (difference hashes within {LARGEST_DISTANCE} of {HASH_BITS} bits): {len(found)} images form "
        f"{len(sizes)} groups of at most {sizes.max()}; a group stays in one split."
    )
    return groups, len(sizes) < len(found), note


def _counts(split: str, labels: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """Describes the number of images in a split, unless there are none."""
    shares = [f"{label} {np.sum(labels == index)}" for index, label in enumerate(classes)]
    if classes and np.any(labels < 0):
        shares.append(f"unlabelled {np.sum(labels < 0)}")
    by_class = f" ({', '.join(shares)})" if shares else ""
    return [f"{split.capitalize()}: {len(labels)} images{by_class}."] if len(labels) else []


def _fingerprint(
    items: Sequence[Item],
    groups: np.ndarray,
    splits: np.ndarray,
    readable: np.ndarray,
    image_size: int,
    channels: int,
    subset: Subset,
) -> str:
    grey = "" if channels == 3 else "\ngrey"
    digest = hashlib.sha256(f"{image_size}\n{subset.described()}{grey}".encode())
    for item, group, split, good in zip(items, groups.tolist(), splits.tolist(), readable.tolist(), strict=True):
        if good:
            digest.update(repr((item.name, item.label, group, split)).encode())
    return digest.hexdigest()
