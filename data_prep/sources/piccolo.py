"""The PICCOLO release 0.1 as it lies on disk (Sanchez-Peralta et al., Applied Sciences 2020).

    .../{train,validation,test}/polyps/001_VP1_frame0075.png           frames; 001 is the lesion, VP1 the video
    .../{train,validation,test}/void/001_VP1_frame0075_Void.tif        0 in the field of view
    .../{train,validation,test}/masks/001_VP1_frame0075_Corrected.tif  the polyp; not used here
    .../clinical metadata_release0.1.csv

Folders may be nested or copied, and files may be missing: what is there is used, what is missing is reported. The label
of a frame is that of its lesion. A group is a connected component of lesions and videos: two lesions in one video were
seen in one patient, and so were two videos of one lesion.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.sources.listing import Listing, RawFrame, Skipped, Source
from data_prep.sources.piccolo_metadata import Lesion, read_metadata
from data_prep.splits import SPLIT_NAMES, SPLITS

FRAME = re.compile(r"(\d{3})_(VP\d+)_.+", re.IGNORECASE)
LISTED = 5


class _Files(NamedTuple):
    """Paths by split and name of the frame; several if there are copies."""

    polyps: dict[tuple[str, str], list[Path]]
    void: dict[tuple[str, str], list[Path]]
    masks: dict[tuple[str, str], list[Path]]
    tables: list[Path]
    odd: list[Skipped]


def list_piccolo(root: Path, where: str) -> Listing:
    """The frames of the release by split and name, with notes on what is odd.

    Args:
        root: the release, or any folder above it.
        where: what names it in errors.

    Raises:
        UserError: the folder is missing, has no frame or no metadata, or the table is not the clinical metadata.
    """
    if not root.is_dir():
        raise UserError(f"{where}: {'it is a file' if root.is_file() else 'no such folder'}")
    files = _find(root)
    if not files.polyps:
        raise UserError(
            f"{where}: no frame found; expected train/polyps/001_VP1_frame0075.png or the like in it or below"
        )
    if not files.tables:
        raise UserError(f"{where}: no 'clinical metadata_release0.1.csv' in it or below; the labels come from it")
    lesions, notes = read_metadata(files.tables, root)
    # All of `VP10` is matched: VP1 is a prefix of it.
    parts = {name: FRAME.fullmatch(name) for _, name in files.polyps}
    videos = {name: (found[1], found[2].upper()) for name, found in parts.items() if found is not None}
    groups = _components(lesions.values(), videos.values())
    frames, skipped = [], list(files.odd)
    for (split, name), copies in sorted(files.polyps.items(), key=lambda entry: (SPLITS.index(entry[0][0]), entry[0])):
        best, *others = _best_first(copies)
        skipped += [Skipped(_name(path, root), f"another copy of {_name(best, root)}") for path in others]
        lesion = videos[name][0]
        frames.append(
            RawFrame(
                name=_name(best, root),
                path=best,
                label=lesions[lesion].label if lesion in lesions else None,
                group=groups[lesion],
                split=split,
                void=next(iter(_best_first(files.void.get((split, name), []))), None),
                short=f"{split}/{name}",
            )
        )
    notes = (*notes, *_notes(files, lesions, videos))
    return Listing(root, tuple(frames), tuple(skipped), notes, official=True)


def _find(root: Path) -> _Files:
    """All files of the release below a folder."""
    files = _Files(defaultdict(list), defaultdict(list), defaultdict(list), [], [])
    endings = {"polyps": "", "void": "_void", "masks": "_corrected"}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name != "__MACOSX")
        here = Path(folder)
        kind, split = here.name.lower(), SPLIT_NAMES.get(here.parent.name.lower())
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                continue
            if name.lower().startswith("clinical metadata") and path.suffix.lower() == ".csv":
                files.tables.append(path)
            elif split is None or kind not in endings:
                files.odd.append(Skipped(_name(path, root), "not part of the release"))
            elif kind == "polyps" and (path.suffix.lower() != ".png" or not FRAME.fullmatch(path.stem)):
                files.odd.append(Skipped(_name(path, root), "not named like a frame, 001_VP1_frame0075.png"))
            else:
                stem = path.stem
                if endings[kind] and stem.lower().endswith(endings[kind]):
                    stem = stem[: -len(endings[kind])]
                getattr(files, kind)[split, stem].append(path)
    return files


def _components(lesions: Iterable[Lesion], seen: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The group of each lesion, named after the first lesion in it.

    Args:
        lesions: with their videos, by the metadata.
        seen: lesion and video, by the names of frames.
    """
    # Imported only here: --help lists this source.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = {(lesion.code, video) for lesion in lesions for video in lesion.videos} | set(seen)
    codes = sorted({code for code, _ in links} | {lesion.code for lesion in lesions})
    numbers = {node: number for number, node in enumerate([*codes, *sorted({video for _, video in links})])}
    rows = [numbers[code] for code, _ in links]
    columns = [numbers[video] for _, video in links]
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(numbers), len(numbers)))
    component = connected_components(graph, directed=False)[1]
    first: dict[int, str] = {}
    return {code: first.setdefault(component[numbers[code]], f"lesion{code}") for code in codes}


def _notes(files: _Files, lesions: dict[str, Lesion], videos: dict[str, tuple[str, str]]) -> list[str]:
    """Sentences about what is missing from the release, and about frames that contradict the metadata."""
    counts = Counter(split for split, _ in files.polyps)
    frames, voids, masks = set(files.polyps), set(files.void), set(files.masks)
    shown, names = {lesion for lesion, _ in videos.values()}, Counter(name for _, name in files.polyps)
    known = {name: (lesions[lesion], video) for name, (lesion, video) in videos.items() if lesion in lesions}
    odd: dict[str, Iterable[object]] = {
        "frames without a void mask; their border is looked for in the picture": frames - voids,
        "frames without a polyp mask; it is not needed here": frames - masks,
        "void or polyp masks without their frame": (voids | masks) - frames,
        "lesions of frames that are not in the metadata; they have no label": shown - set(lesions),
        "lesions of the metadata without a frame": set(lesions) - shown,
        "frames of a video that the metadata does not list for their lesion": [
            name for name, (lesion, video) in known.items() if lesion.videos and video not in lesion.videos
        ],
        "frames whose folder is not the split of the metadata; the folder counts": [
            f"{name} in {split}, metadata {known[name][0].split}"
            for split, name in files.polyps
            if name in known and known[name][0].split not in (None, split)
        ],
        "names of frames in more than one split": [name for name, count in names.items() if count > 1],
    }
    notes = [f"PICCOLO: {len(files.polyps)} frames ({', '.join(f'{split} {counts[split]}' for split in SPLITS)})."]
    for what, which in odd.items():
        texts = sorted("/".join(item) if isinstance(item, tuple) else str(item) for item in which)
        if texts:
            more = ", ..." if len(texts) > LISTED else ""
            notes.append(f"PICCOLO: {what}: {len(texts)} ({', '.join(texts[:LISTED])}{more}).")
    return notes


def _best_first(copies: Iterable[Path]) -> list[Path]:
    """Large files first: a truncated copy is smaller. Of equal copies, the least nested one comes first."""
    return sorted(copies, key=lambda path: (-path.lstat().st_size, len(path.parts), path))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


SOURCE = Source("DIR", list_piccolo, preset="endoscopy")
