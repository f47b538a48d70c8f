"""What lies beside the pictures: the tables, `dataset.yaml`, the report, the reference histogram and the checksums.

`labels.csv` is written last: a folder that has it is finished.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from data_prep.pipeline.outcome import Outcome, describe
from data_prep.pipeline.record import Record
from data_prep.pipeline.writing import write_file
from data_prep.report.page import report_page
from data_prep.sources.csv import DATASET
from data_prep.sources.listing import RawFrame, in_utf8

LABELS, FRAMES, SKIPPED, NEAR = "labels.csv", "frames.csv", "skipped.csv", "near_duplicates.csv"
REPORT, CHECKSUMS, REFERENCE = "report.html", "checksums.sha256", "reference_histogram.json"
# In the order in which they are removed when a folder is no longer finished.
FINAL = (LABELS, DATASET, REPORT, CHECKSUMS, FRAMES, SKIPPED, NEAR, REFERENCE)


def remove_final(out: Path) -> None:
    """Removes the files that mark the folder as finished."""
    for name in FINAL:
        (out / name).unlink(missing_ok=True)


def write_outputs(out: Path, outcome: Outcome, record: Record) -> None:
    """Writes everything but the pictures, or nothing if nothing has changed."""
    frames = outcome.frames
    tables = {
        FRAMES: _table(FRAME_COLUMNS, (_frame_row(outcome, frame) for frame in frames)),
        SKIPPED: _table(("source", "reason"), outcome.skipped),
        NEAR: _table(("source", "near_duplicate"), outcome.choice.near),
        CHECKSUMS: "".join(
            f"{outcome.written[frame.name].sha256}  {outcome.targets[frame.name]}\n" for frame in frames
        ).encode(),
    }
    if outcome.reference is not None:
        tables[REFERENCE] = json.dumps({"counts": outcome.reference.tolist()}).encode()
    tables[LABELS] = _table(
        ("path", "label", "group", "split", "modality", "source"),
        [
            (outcome.targets[one.name], one.label, one.group, one.split, outcome.modalities[one.name], one.name)
            for one in frames
        ],
    )
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}
    described = yaml.safe_dump(describe(outcome) | {"checksums": checksums}, sort_keys=False, allow_unicode=True)
    tables = {DATASET: described.encode()} | tables
    complete = all((out / name).is_file() for name in (REPORT, *tables))
    if complete and all((out / name).read_bytes() == content for name, content in tables.items()):
        return
    # From here on, until the last file is written, tables and description do not belong together.
    remove_final(out)
    write_file(out, out / REPORT, report_page(outcome, record))
    for name, content in tables.items():
        write_file(out, out / name, content)


FRAME_COLUMNS = (
    *("source", "path", "modality", "modality_from", "modality_confidence", "width", "height"),
    *("border", "top", "left", "bottom", "right", "overlay_share", "brightness", "metadata", "notes", "sha256"),
)


def _frame_row(outcome: Outcome, frame: RawFrame) -> tuple[object, ...]:
    one = outcome.inspections[frame.name]
    modality = outcome.modalities[frame.name]
    origin = "" if not modality else "told" if frame.modality else "colour"
    return (
        *(in_utf8(frame.name), outcome.targets[frame.name], modality, origin),
        *(f"{one.confidence:.3f}" if origin == "colour" else "", one.width, one.height),
        *(one.border, *one.box, f"{one.overlay_share:.5f}", f"{one.brightness:.1f}"),
        *(" ".join(one.metadata), "; ".join(one.notes), one.sha256),
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Comma-separated values in UTF-8; None is blank."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([in_utf8(value) if isinstance(value, str) else value for value in row] for row in rows)
    return text.getvalue().encode()
