"""Chooses which of the inspected frames are used, and in which split. It looks at all frames at once."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.images.duplicates import clusters
from data_prep.pipeline.inspecting import Inspection
from data_prep.sources.listing import Listing, RawFrame, Skipped
from data_prep.splits import SPLITS, TRAIN, VALIDATION, make_splits, split_training

# Of several copies, the one in the test split is kept: a smaller held-out set would not be the publisher's.
KEPT_FIRST = {"test": 0, "validation": 1, "train": 2, None: 3}


class Leak(NamedTuple):
    """A group in more than one split, and the number of its frames in each."""

    group: str
    counts: dict[str, int]


class Choice(NamedTuple):
    """
    Attributes:
        frames: the frames that are used, with their final groups and splits.
        skipped: the frames that are not.
        leaks: groups in more than one split.
        near: pairs of near-duplicate frames in two splits, by name.
        split_by: how the split was made.
    """

    frames: tuple[RawFrame, ...]
    skipped: tuple[Skipped, ...]
    leaks: tuple[Leak, ...]
    near: tuple[tuple[str, str], ...]
    split_by: str


def find_leaks(frames: Sequence[RawFrame]) -> tuple[Leak, ...]:
    """The groups in more than one split, in order of appearance."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for frame in frames:
        if frame.group is not None and frame.split is not None:
            counts[frame.group][frame.split] += 1
    found = {group: {split: n for split, n in of.items() if n} for group, of in counts.items()}
    return tuple(Leak(group, of) for group, of in found.items() if len(of) > 1)


def check_listing(listing: Listing, config: Preparation) -> None:
    """Refuses what can be refused before a picture is opened.

    Raises:
        UserError: there is no frame, only some frames have a split, or a group lies in two splits and may not.
    """
    where = f"--source={config.source}"
    if not listing.frames:
        skipped = listing.skipped
        first = f"; the first of {len(skipped)} skipped is {': '.join(skipped[0])}" if skipped else ""
        raise UserError(f"{where}: no frame to prepare{first}")
    unnamed = [frame.name for frame in listing.frames if frame.split is None]
    if unnamed and len(unnamed) < len(listing.frames):
        raise UserError(
            f"{where}: {len(unnamed)} of {len(listing.frames)} frames have no split, the first is {unnamed[0]}; give "
            "all frames a split, or none"
        )
    leaks = find_leaks(listing.frames)
    if leaks and leaks_policy(listing, config) == "refuse":
        raise UserError(
            f"{where}: {len(leaks)} group(s) lie in more than one split, the first is {leaks[0].group!r} "
            f"({', '.join(f'{split} {count}' for split, count in leaks[0].counts.items())}): the held-out score would "
            "count memorised frames. Correct the splits or the groups, use --leaks=drop to leave out their held-out "
            "frames, or --leaks=keep to only report them"
        )


def leaks_policy(listing: Listing, config: Preparation) -> str:
    """What to do about leaks: as asked for, else by the kind of source."""
    return config.leaks or ("keep" if listing.official else "refuse")


def choose(listing: Listing, inspections: Mapping[str, Inspection], config: Preparation) -> Choice:
    """Leaves out bad files, copies and unwanted frames, then groups and splits the rest.

    Raises:
        UserError: no frame is left, or there are too few to split.
    """
    skipped: list[Skipped] = []
    frames = []
    unlabelled = config.unlabelled or ("skip" if listing.official else "keep")
    for frame in listing.frames:
        if inspections[frame.name].bad:
            skipped.append(Skipped(frame.name, inspections[frame.name].bad))
        elif frame.label is None and unlabelled == "skip":
            skipped.append(Skipped(frame.name, "it has no label (use --unlabelled=keep to keep it)"))
        else:
            frames.append(frame)
    frames, copies = _without_copies(frames, inspections)
    skipped += copies
    leaks = find_leaks(frames)
    if leaks_policy(listing, config) == "drop":
        straddling = {leak.group for leak in leaks if "train" in leak.counts}
        held_out = [frame.group in straddling and frame.split != "train" for frame in frames]
        reason = "its group {} is in training too (--leaks=drop)"
        skipped += [Skipped(one.name, reason.format(one.group)) for one in itertools.compress(frames, held_out)]
        frames = [frame for frame, out in zip(frames, held_out, strict=True) if not out]
    if not frames:
        first = f"; the first: {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise UserError(f"--source={config.source}: none of the {len(skipped)} files can be used{first}")
    cluster = clusters(np.stack([inspections[frame.name].bits() for frame in frames]))
    frames, split_by = _split(frames, cluster, config)
    # Training refuses a group in two splits: groups that may lie in two are named by their split too.
    apart = {leak.group for leak in find_leaks(frames)}
    frames = [one._replace(group=f"{one.group} ({one.split})") if one.group in apart else one for one in frames]
    near = _near_across_splits(frames, cluster)
    return Choice(tuple(frames), tuple(skipped), leaks, near, split_by)


def _without_copies(
    frames: list[RawFrame], inspections: Mapping[str, Inspection]
) -> tuple[list[RawFrame], list[Skipped]]:
    """Keeps one of several files with the same bytes, or none if their labels contradict each other."""
    same: dict[str, list[RawFrame]] = defaultdict(list)
    for frame in frames:
        same[inspections[frame.name].sha256].append(frame)
    reasons = {}
    for copies in same.values():
        labels = {frame.label for frame in copies if frame.label is not None}
        if len(labels) > 1:
            told = " and ".join(sorted(labels))
            for frame in copies:
                other = next(one for one in copies if one.label not in (None, frame.label))
                reasons[frame.name] = f"label conflict: the same file as {other.name}, labelled {told}"
            continue
        # Labelled before unlabelled, then by split, then in order.
        kept, *others = sorted(copies, key=lambda frame: (frame.label is None, KEPT_FIRST[frame.split]))
        for frame in others:
            reasons[frame.name] = f"the same file as {kept.name}"
    left = [frame for frame in frames if frame.name not in reasons]
    return left, [Skipped(name, reason) for name, reason in reasons.items()]


def _split(frames: list[RawFrame], cluster: np.ndarray, config: Preparation) -> tuple[list[RawFrame], str]:
    """Gives each frame a split: that of the source, with validation taken from training if missing, or a new one."""
    given = None if frames[0].split is None else np.array([SPLITS.index(frame.split or "") for frame in frames])
    if config.split is not None:
        return frames, f"all in {config.split}, by --split"
    if given is not None and not np.any(given == TRAIN):
        raise UserError(
            f"--source={config.source}: no frame is in the training split; use --split=test to prepare a test set alone"
        )
    if given is not None and np.any(given == VALIDATION):
        return frames, "given by the source"
    if all(frame.group is None for frame in frames):
        sizes = np.bincount(cluster)
        frames = [
            frame._replace(group=f"near-duplicates{number}") if sizes[number] > 1 else frame
            for frame, number in zip(frames, cluster.tolist(), strict=True)
        ]
    classes = sorted({frame.label for frame in frames if frame.label is not None})
    labels = np.array([-1 if frame.label is None else classes.index(frame.label) for frame in frames])
    numbers: dict[object, int] = {}
    groups = np.array([numbers.setdefault(frame.group or index, len(numbers)) for index, frame in enumerate(frames)])
    try:
        if given is None:
            assigned = make_splits(labels, groups, config.split_seed)
            how = f"new, 60/20/20, stratified by class, groups kept together, seed {config.split_seed}"
        else:
            assigned = split_training(given, labels, groups, config.split_seed)
            how = f"given by the source; validation is a fifth of training, seed {config.split_seed}"
    except UserError as error:
        raise UserError(f"--source={config.source}: {error}") from error
    return [frame._replace(split=SPLITS[number]) for frame, number in zip(frames, assigned, strict=True)], how


def _near_across_splits(frames: Sequence[RawFrame], cluster: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Pairs each frame that has a near-duplicate in another split with the first of these. Each pair occurs once."""
    members: dict[int, list[RawFrame]] = defaultdict(list)
    for frame, number in zip(frames, cluster.tolist(), strict=True):
        members[number].append(frame)
    pairs = []
    for cluster_frames in members.values():
        seen = set()
        for frame in cluster_frames:
            other = next((one for one in cluster_frames if one.split != frame.split), None)
            if other is not None and (other.name, frame.name) not in seen:
                seen.add((frame.name, other.name))
                pairs.append((frame.name, other.name))
    return tuple(pairs)
