"""From `--data` to the examples of each split: opened, checked, split, decoded once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.images.duplicates import HASH_BITS, LARGEST_DISTANCE, clusters
from data_prep.splits import TEST, TRAIN
from jaxcaps.data.checks import check_bad_images, check_classes, check_folds, check_labelled
from jaxcaps.data.decoding import BadImage, to_square
from jaxcaps.data.items import SPLITS, Item, Source, class_names
from jaxcaps.data.reading import Pictures, Reader
from jaxcaps.data.sources import open_source
from jaxcaps.data.splits import assign, check_groups, given_splits, is_complete
from jaxcaps.data.subsets import WHOLE, Subset, check_fitted, hidden, left_out
from jaxcaps.errors import UserError


@dataclass(frozen=True, eq=False)
class Split:
    """The examples of one split, in order.

    Attributes:
        names: their names in the source.
        labels: int32 [n], indices into the classes, -1 where unknown.
        groups: int32 [n], equal for examples of one group, in this and the other splits.
        has_groups: whether the data has groups; else each example is its own.
        images: uint8 [n, size, size, 3], or None where the set is too large to keep.
        source, rows, image_size: where `read` finds what was not kept.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray
    has_groups: bool
    images: np.ndarray | None
    source: Source
    rows: np.ndarray
    image_size: int

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> np.ndarray:
        """One picture, uint8 [size, size, 3]."""
        if self.images is not None:
            return self.images[index]
        try:
            return to_square(self.source.read(int(self.rows[index])), self.image_size)
        except BadImage as error:
            raise UserError(f"{self.names[index]} could be read when the run began, but no longer: {error}") from error


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a run learns from.

    Attributes:
        classes: sorted, by number where all are numbers; empty without labels.
        splits: those asked for.
        bad_images: name and reason of the images that were skipped.
        notes: sentences for the log: where the split came from, near-duplicates, counts by split and class.
        fingerprint: SHA-256 over names, labels, groups, splits and the image size.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    bad_images: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    fingerprint: str


def load_dataset(
    *,
    data: str,
    image_size: int,
    labels_required: bool,
    split_seed: int,
    synthetic_count: int,
    synthetic_seed: int,
    max_bad_images: float,
    cache_bytes: int,
    splits: tuple[str, ...] = SPLITS,
    subset: Subset = WHOLE,
) -> Dataset:
    """Loads the named splits.

    Each image is decoded once, in threads, and only if it is in a split asked for. The exception is a set with
    neither groups nor splits of its own: finding its near-duplicates, before it is split, takes all pictures.
    The pictures of a split are kept where there is room. Others are decoded once all the same, to find what cannot
    be read before training starts, and are read again when used.

    Args:
        data: what `--data` says, see `open_source`.
        image_size: side in pixels of the square that images are resized to.
        labels_required: whether each image must have a label, and training each class.
        split_seed: seed of the split, where the data brings none.
        synthetic_count: frames of the built-in set.
        synthetic_seed: seed of the built-in set.
        max_bad_images: the largest share of unreadable images that is skipped.
        cache_bytes: how much memory kept pictures may take.
        splits: which of "train", "validation" and "test" to load.
        subset: folds instead of the data's splits, fewer labels, a rare class. Images whose label is hidden are left
            out of training where labels are required, else they have the label -1; in validation they have it
            always. The labels of the test split are never hidden.

    Raises:
        UserError: for all that is wrong with the data.
    """
    source = open_source(data, synthetic_count=synthetic_count, synthetic_seed=synthetic_seed, image_size=image_size)
    items = source.items
    classes = class_names(items)
    if labels_required:
        check_labelled(items, classes, data)
    if subset.folds:
        check_fitted(source.fitted, data, subset.folds)
        given = None
    else:
        check_groups(items, data)
        given = given_splits(items, data, splits)
    labels = _labels(items, classes)
    groups, has_groups = _groups(items)
    reader = Reader(source, image_size, cache_bytes)
    readable = np.ones(len(items), bool)
    notes: list[str] = []

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
        check_folds(labels[readable], groups[readable], classes, subset.folds, data)
    assigned, made, note = assign(
        given, labels, groups, readable, split_seed, data, folds=subset.folds, fold=subset.fold
    )
    notes.append(note)
    readable[left_out(labels, groups, readable, assigned, classes, data, subset)] = False
    known_labels = labels
    labels = hidden(labels, groups, readable, assigned, classes, subset)
    if labels_required:
        readable[(labels < 0) & (assigned == TRAIN)] = False
    if subset.described():
        notes.append(f"Subset: {subset.described()}.")
    parts: dict[str, Pictures] = {}
    for name in splits:
        rows = np.flatnonzero(readable & (assigned == SPLITS.index(name)))
        known = clustered is not None and np.isin(rows, clustered.rows).all()
        parts[name] = clustered.part(rows) if clustered is not None and known else reader.read(rows)
        readable[np.setdiff1d(rows, parts[name].rows)] = False
    check_bad_images(reader.bad, reader.count, max_bad_images, data)
    for name, part in parts.items():
        if not len(part.rows):
            raise UserError(f"--data={data}: there is no readable image in the {name} split")

    if labels_required and (given is None or TRAIN in given):
        check_classes(known_labels[readable], groups[readable], assigned[readable], classes, data, made=made)
    notes.extend(_counts(labels[readable], assigned[readable], classes))
    streamed = [name for name, part in parts.items() if part.images is None]
    if streamed:
        notes.append(f"Decoded, {' and '.join(streamed)} would take more than --cache-mb: read anew for each batch.")
    return Dataset(
        classes=classes,
        splits={name: _split(source, part, labels, groups, has_groups, image_size) for name, part in parts.items()},
        bad_images=reader.bad,
        notes=tuple(notes),
        fingerprint=_fingerprint(items, groups, assigned, readable, image_size, subset),
    )


def _split(
    source: Source, part: Pictures, labels: np.ndarray, groups: np.ndarray, has_groups: bool, image_size: int
) -> Split:
    return Split(
        names=tuple(source.items[row].name for row in part.rows),
        labels=labels[part.rows],
        groups=groups[part.rows],
        has_groups=has_groups,
        images=part.images,
        source=source,
        rows=part.rows,
        image_size=image_size,
    )


def _labels(items: Sequence[Item], classes: tuple[str, ...]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([-1 if item.label is None else numbers[item.label] for item in items], np.int32)


def _groups(items: Sequence[Item]) -> tuple[np.ndarray, bool]:
    """A number for each group, in order of appearance, and whether the data has any."""
    numbers: dict[object, int] = {}
    # An image without a group is alone under its own index, which is no name.
    keys = [index if item.group is None else item.group for index, item in enumerate(items)]
    groups = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)
    return groups, any(item.group is not None for item in items)


def _clustered(groups: np.ndarray, pictures: Pictures) -> tuple[np.ndarray, bool, str]:
    """Near-duplicates as groups, whether there are any, and a note."""
    assert pictures.hashes is not None
    found = clusters(pictures.hashes)
    # Unreadable images stay alone.
    merged = groups.copy()
    merged[pictures.rows] = len(groups) + found
    groups = np.unique(merged, return_inverse=True)[1].astype(np.int32)
    sizes = np.bincount(found)
    note = (
        f"Near-duplicates (difference hashes within {LARGEST_DISTANCE} of {HASH_BITS} bits): {len(found)} images form "
        f"{len(sizes)} groups, the largest of {sizes.max()}; a group stays in one split."
    )
    return groups, len(sizes) < len(found), note


def _counts(labels: np.ndarray, splits: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """A sentence for each split."""
    sentences = []
    for number, name in enumerate(SPLITS):
        members = labels[splits == number]
        if not len(members):
            continue
        shares = [f"{label} {np.sum(members == index)}" for index, label in enumerate(classes)]
        if classes and np.any(members < 0):
            shares.append(f"unlabelled {np.sum(members < 0)}")
        by_class = f" ({', '.join(shares)})" if shares else ""
        sentences.append(f"{name.capitalize()}: {len(members)} images{by_class}.")
    return sentences


def _fingerprint(
    items: Sequence[Item],
    groups: np.ndarray,
    splits: np.ndarray,
    readable: np.ndarray,
    image_size: int,
    subset: Subset,
) -> str:
    digest = hashlib.sha256(f"{image_size}\n{subset.described()}".encode())
    for item, group, split, good in zip(items, groups.tolist(), splits.tolist(), readable.tolist(), strict=True):
        if good:
            digest.update(repr((item.name, item.label, group, split)).encode())
    return digest.hexdigest()
