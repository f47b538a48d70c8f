"""A table of images with the columns path[,label][,group][,split][,modality], separated by commas.

Columns may come in any order; others are ignored, unless their names are nearly one of these. Paths are relative to the
table's folder. A blank label is unknown, a blank group an image on its own.
"""

import csv
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.sources.listing import RawFrame
from data_prep.splits import SPLIT_NAMES

# What lies beside the table that `data_prep` writes, and says how the pictures were made.
DATASET = "dataset.yaml"
COLUMNS = ("label", "group", "split", "modality")


def list_table(file: Path, where: str) -> list[RawFrame]:
    """The images that a table lists, in its order. Whether the files are there is not looked at.

    Args:
        file: the table.
        where: what names it in errors, such as "--data=csv:FILE".

    Raises:
        UserError: no such file, no text, no `path` column, a row without a path or with too many fields, a path
            listed twice, an unknown name of a split, a column whose name is nearly one of these. Line and value are
            named.
    """
    if not file.is_file():
        hint = "it is a folder; a folder of images is folder:DIR" if file.is_dir() else "no such file"
        raise UserError(f"{where}: {hint}")
    frames = []
    lines: dict[str, int] = {}
    rows = read_rows(file, where, ("path",), COLUMNS)
    for name in rows[0][1] if rows else ():
        meant = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.8)
        if meant and name not in COLUMNS:
            raise UserError(f"{where}: column {name!r} would not be read; did you mean {meant[0]!r}?")
    for line, row in rows:
        name = row["path"]
        if not name:
            raise UserError(f"{where}, line {line}: the path is empty")
        path = file.parent / name
        key = os.path.normpath(path)
        if key in lines:
            raise UserError(f"{where}, line {line}: {name} is listed already in line {lines[key]}; keep one of them")
        lines[key] = line
        split = row.get("split") or None
        if split is not None:
            if split.lower() not in SPLIT_NAMES:
                raise UserError(f"{where}, line {line}: split {split!r} is none of train, validation, test")
            split = SPLIT_NAMES[split.lower()]
        # A name is the same wherever the data lies.
        name = os.path.relpath(name, file.parent) if os.path.isabs(name) else name
        label, group, modality = (row.get(column) or None for column in ("label", "group", "modality"))
        frames.append(RawFrame(name, path, label, group, split, modality))
    if not frames:
        raise UserError(f"{where}: the table lists no image; expected a line path,label,... and then one per image")
    return frames


def read_rows(
    file: Path, where: str, required: Sequence[str], optional: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table with their line numbers; names of columns and values stripped of blanks.

    Args:
        file: the table, UTF-8.
        where: what names it in errors.
        required: columns that it must have.
        optional: columns that are looked at where it has them; any others are let pass.

    Raises:
        UserError: no text, a required column missing, one of these columns twice, a row with too many fields.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            missing = [name for name in required if name not in names]
            if names and missing:
                raise UserError(
                    f"{where}: no column {missing[0]!r} in the first line; found {', '.join(map(repr, names))}. "
                    f"Expected {','.join(required)} and optionally {','.join(optional)}, separated by commas"
                )
            repeated = [name for name in (*required, *optional) if names.count(name) > 1]
            if repeated:
                raise UserError(f"{where}: column {repeated[0]!r} comes twice in the first line")
            rows = []
            for row in reader:
                # DictReader keeps surplus fields under None.
                if None in row:
                    raise UserError(
                        f"{where}, line {reader.line_num}: more fields than the first line has columns "
                        f"({len(names)}); put a path with a comma in quotation marks"
                    )
                rows.append((reader.line_num, {name: (value or "").strip() for name, value in row.items()}))
            return rows
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: it is no UTF-8 text ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise UserError(f"{where}: it is no table of comma-separated values ({error})") from error
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from error
