"""What lies beside the pictures: the tables, `dataset.yaml`, the reference histogram and the checksums.

`labels.csv` is written last: a folder that has it is finished.
"""

import csv
import hashlib
import io
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from data_prep.choosing import Choice
from data_prep.config import Preparation
from data_prep.histogram import ReferenceHistogram
from data_prep.inspecting import Inspection
from data_prep.raw import RawFrame, Skipped
from data_prep.sequence import VERSION
from data_prep.sources import Listing
from data_prep.splits import SPLITS
from data_prep.statistics import ChannelStatistics
from data_prep.writing import Written, replacing, write_file

LABELS, FRAMES, SKIPPED, NEAR = "labels.csv", "frames.csv", "skipped.csv", "near_duplicates.csv"
DATASET, REPORT, CHECKSUMS, REFERENCE = "dataset.yaml", "report.html", "checksums.sha256", "reference_histogram.json"
# In the order of their removal, when a folder is no longer finished.
FINAL = (LABELS, DATASET, REPORT, CHECKSUMS, FRAMES, SKIPPED, NEAR, REFERENCE)


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that a preparation found and did.

    Attributes:
        config: what was asked for.
        listing, choice: the source, and what of it is used.
        inspections, written: by the frame's name; written ones may have failed, see `Written.bad`.
        modalities: of the used frames, "" where unknown.
        targets: paths of the pictures in the folder, by the frame's name.
        reference, fitted_on: the reference histogram, if there is one, and from how many frames.
    """

    config: Preparation
    listing: Listing
    choice: Choice
    inspections: Mapping[str, Inspection]
    modalities: Mapping[str, str]
    targets: Mapping[str, str]
    written: Mapping[str, Written]
    reference: ReferenceHistogram | None
    fitted_on: int

    @property
    def frames(self) -> tuple[RawFrame, ...]:
        """The frames that have a picture in the folder, in order."""
        return tuple(frame for frame in self.choice.frames if not self.written[frame.name].bad)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """All that was left out, ordered by name."""
        failed = [Skipped(name, one.bad) for name, one in self.written.items() if one.bad]
        return tuple(sorted([*self.listing.skipped, *self.choice.skipped, *failed]))


def remove_final(out: Path) -> None:
    """Removes what says that the folder is finished."""
    for name in FINAL:
        (out / name).unlink(missing_ok=True)


def write_outputs(out: Path, outcome: Outcome) -> None:
    """Writes all but the pictures and the report."""
    frames = outcome.frames
    tables = {
        FRAMES: _table(FRAME_COLUMNS, (_frame_row(outcome, frame) for frame in frames)),
        SKIPPED: _table(("source", "reason"), outcome.skipped),
        NEAR: _table(("source", "near_duplicate"), outcome.choice.near),
        CHECKSUMS: "".join(
            f"{outcome.written[frame.name].sha256}  {outcome.targets[frame.name]}\n" for frame in frames
        ).encode(),
    }
    for name, content in tables.items():
        write_file(out, out / name, content)
    if outcome.reference is None:
        (out / REFERENCE).unlink(missing_ok=True)
    else:
        with replacing(out, out / REFERENCE) as partial:
            outcome.reference.save(partial)
    labels = _table(
        ("path", "label", "group", "split", "modality", "source"),
        (
            (
                outcome.targets[frame.name],
                frame.label,
                frame.group,
                frame.split,
                outcome.modalities[frame.name],
                _text(frame.name),
            )
            for frame in frames
        ),
    )
    present = [name for name in (FRAMES, SKIPPED, NEAR, CHECKSUMS, REFERENCE) if (out / name).is_file()]
    checksums = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in present}
    checksums[LABELS] = hashlib.sha256(labels).hexdigest()
    description = yaml.safe_dump(describe(outcome) | {"checksums": checksums}, sort_keys=False, allow_unicode=True)
    write_file(out, out / DATASET, description.encode())
    write_file(out, out / LABELS, labels)


def describe(outcome: Outcome) -> dict[str, Any]:
    """`dataset.yaml` but for the checksums, as plain values."""
    config, frames, choice = outcome.config, outcome.frames, outcome.choice
    asked = asdict(config)
    steps = asked.pop("steps")
    for name in ("workers", "out"):  # where and how fast, not what
        asked.pop(name)
    inspections = [outcome.inspections[frame.name] for frame in frames]
    matched = outcome.reference is not None
    return {
        "prepared_from": asked,
        "steps": steps,
        "steps_version": VERSION,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__},
        "counts": {
            "images": len(frames),
            "by_split": _count(frame.split for frame in frames),
            "by_class": _count(frame.label or "unlabelled" for frame in frames),
            "by_split_and_class": {
                split: _count(frame.label or "unlabelled" for frame in frames if frame.split == split)
                for split in SPLITS
            },
            "by_modality": _count(outcome.modalities[frame.name] or "unknown" for frame in frames),
            "groups": len({frame.group for frame in frames if frame.group is not None}),
            "skipped": len(outcome.skipped),
            "with_overlays": sum(one.overlay_share > 0 for one in inspections),
            "metadata_stripped": sum(bool(one.metadata) for one in inspections),
        },
        "split": choice.split_by,
        "fitted": {
            "reference_histogram": {
                "on": f"{outcome.fitted_on} training frames of {config.steps.match_to}",
                "file": REFERENCE,
                "frames_matched": sum(outcome.modalities[frame.name] in _others(config) for frame in frames),
            }
            if matched
            else None,
            "statistics": "on the training split, after all steps",
        },
        "statistics": training_statistics(outcome),
        "leaks": [{"group": leak.group, **leak.counts} for leak in choice.leaks],
        "near_duplicates_across_splits": len(choice.near),
        "notes": list(outcome.listing.notes),
    }


def training_statistics(outcome: Outcome) -> dict[str, Any]:
    """Mean and standard deviation of the training split's pictures, black 0 and white 1."""
    statistics = ChannelStatistics()
    for frame in outcome.frames:
        if frame.split == "train":
            one = outcome.written[frame.name]
            statistics.merge(ChannelStatistics(one.pixels, one.sums, one.squares))
    if not statistics.pixels:
        return {"channels": "RGB", "pixels": 0, "mean": None, "standard_deviation": None}
    return {
        "channels": "RGB",
        "pixels": statistics.pixels,
        "mean": [round(value, 6) for value in statistics.mean],
        "standard_deviation": [round(value, 6) for value in statistics.standard_deviation],
    }


FRAME_COLUMNS = (
    *("source", "path", "modality", "modality_from", "modality_confidence", "width", "height"),
    *("border", "top", "left", "bottom", "right", "overlay_share", "brightness", "metadata", "notes", "sha256"),
)


def _frame_row(outcome: Outcome, frame: RawFrame) -> tuple[object, ...]:
    one = outcome.inspections[frame.name]
    modality = outcome.modalities[frame.name]
    origin = "" if not modality else "told" if frame.modality else "colour"
    return (
        *(_text(frame.name), outcome.targets[frame.name], modality, origin),
        *(f"{one.confidence:.3f}" if origin == "colour" else "", one.width, one.height),
        *(one.border, *one.box, f"{one.overlay_share:.5f}", f"{one.brightness:.1f}"),
        *(" ".join(one.metadata), "; ".join(one.notes), one.sha256),
    )


def _others(config: Preparation) -> set[str]:
    """The modality that is matched to the other."""
    return {"WL", "NBI"} - {config.steps.match_to}


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values).items()))


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Comma-separated UTF-8; None is blank."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(value) if isinstance(value, str) else value for value in row] for row in rows)
    return text.getvalue().encode()


def _text(name: str) -> str:
    """A name that UTF-8 can hold: bytes that were no text become `\\xff` and the like."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
