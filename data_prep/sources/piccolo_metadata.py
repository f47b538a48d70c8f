"""The table of lesions of PICCOLO, `clinical metadata_release0.1.csv`: separated by semicolons, not valid UTF-8."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.errors import UserError
from data_prep.splits import SPLIT_NAMES

# How the names of the columns begin. The names in the release are longer, and changed over time.
LESION, VIDEO, DIAGNOSIS, SPLIT = "code - lesion", "code - video", "literal diagnosis", "set"
# No key is a prefix of another.
DIAGNOSES = {"hyperplas": "hyperplasia", "adenoma": "adenoma", "adenocarcinoma": "adenocarcinoma"}


class Lesion(NamedTuple):
    """
    Attributes:
        code: three digits.
        videos: such as {"VP1"}.
        label: hyperplasia, adenoma or adenocarcinoma; None if the diagnosis is blank, unknown or contradictory.
        split: the split in the table, if there is one.
    """

    code: str
    videos: frozenset[str]
    label: str | None
    split: str | None


def read_metadata(tables: Sequence[Path], root: Path) -> tuple[dict[str, Lesion], tuple[str, ...]]:
    """The lesions by code, and notes on what is odd.

    Args:
        tables: the table, or several copies of it; the one with the most lesions is used.
        root: the folder that paths in notes are relative to.

    Raises:
        UserError: a column is missing, or no row has a lesion.
    """
    read = [(table, *_rows(table, root)) for table in sorted(tables, key=lambda path: (len(path.parts), path))]
    table, rows, notes = max(read, key=lambda entry: len(entry[1]))
    if any(other != rows for _, other, _ in read):
        notes.append(f"PICCOLO: copies of the metadata differ; {table.relative_to(root)}, the longest, is used.")
    by_code: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_code.setdefault(row[LESION], []).append(row)
    lesions = {}
    for code, members in by_code.items():
        labels = {_label(row[DIAGNOSIS]) for row in members if row[DIAGNOSIS]}
        if not labels:
            notes.append(f"PICCOLO: lesion {code} has no diagnosis.")
        elif None in labels:
            texts = sorted({row[DIAGNOSIS] for row in members if _label(row[DIAGNOSIS]) is None and row[DIAGNOSIS]})
            notes.append(f"PICCOLO: lesion {code} has the unknown diagnosis {texts[0]!r}: it has no label.")
        elif len(labels) > 1:
            told = " and ".join(sorted(map(str, labels)))
            notes.append(f"PICCOLO: label conflict: lesion {code} is {told}: it has no label.")
        label = next(iter(labels)) if len(labels) == 1 else None
        splits = {SPLIT_NAMES.get(row[SPLIT].lower()) for row in members if row[SPLIT]}
        videos = frozenset(video.upper() for row in members for video in re.findall(r"VP\d+", row[VIDEO], re.I))
        lesions[code] = Lesion(code, videos, label, next(iter(splits)) if len(splits) == 1 else None)
    return lesions, tuple(notes)


def _rows(table: Path, root: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows with the code of a lesion, keyed by the beginnings of the columns' names, and notes on what is odd."""
    name = table.relative_to(root)
    raw = table.read_bytes()
    notes = []
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Excel on Western European Windows writes this encoding, in which five bytes are undefined.
        text = raw.decode("cp1252", errors="replace")
        notes.append(f"PICCOLO: {name} is not valid UTF-8 (byte {error.start}); read as Windows-1252.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";")
    try:
        lines = [(reader.line_num, [_plain(value) for value in values]) for values in reader]
    except csv.Error as error:
        raise UserError(f"{table}: not a table of values separated by semicolons ({error})") from error
    names = [column.lower() for column in lines[0][1]] if lines else []
    columns = {}
    for wanted in (LESION, VIDEO, DIAGNOSIS, SPLIT):
        places = [place for place, column in enumerate(names) if column.startswith(wanted)]
        if not places and wanted in (LESION, DIAGNOSIS):
            raise UserError(
                f"{table}: no column begins with {wanted.upper()!r}; found {', '.join(names) or 'none'}. "
                "Expected the table of the release, separated by semicolons"
            )
        columns[wanted] = places[0] if places else None
    rows = []
    for number, values in lines[1:]:
        row = {
            column: values[place] if place is not None and place < len(values) else ""
            for column, place in columns.items()
        }
        digits = re.match(r"\d+", row[LESION])
        if digits:
            rows.append(row | {LESION: f"{int(digits[0]):03d}"})
        elif any(row.values()):
            notes.append(f"PICCOLO: {name}, line {number}: {row[LESION]!r} is not the code of a lesion; left out.")
    if not rows:
        raise UserError(f"{table}: no row has the code of a lesion; use the table of the release")
    return rows, notes


def _label(diagnosis: str) -> str | None:
    text = diagnosis.lower()
    return next((label for beginning, label in DIAGNOSES.items() if text.startswith(beginning)), None)


def _plain(text: str) -> str:
    """Without blanks at the ends, and with single blanks inside. No-break spaces and line ends are blanks too."""
    return " ".join(text.split())
