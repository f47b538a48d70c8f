"""A table of images with the columns path[,label][,group][,split][,modality], separated by commas.

Columns may come in any order. Others are ignored, unless their names look like misspellings of these. Paths are
relative to the folder of the table. A blank label is unknown; a blank group is an image on its own.
"""

import csv
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.sources.listing import Listing, RawFrame, Source
from data_prep.splits import SPLIT_NAMES

# Lies beside the table that `data_prep` writes, and says how the pictures were made.
DATASET = "dataset.yaml"
COLUMNS = ("label", "group", "split", "modality")


def list_table(file: Path, where: str) -> list[RawFrame]:
    """The images that a table lists, in its order. The files themselves are not checked.

    Args:
        file: the table.
        where: what names it in errors, such as "--data=csv:FILE".

    Raises:
        UserError: the file is missing or not text, there is no `path` column, a row has no path or too many fields,
            a path is listed twice, a split has an unknown name, or a column looks misspelt. The message names line
            and value.
    """
    if not file.is_file():
        hint = "it is a folder; use folder:DIR for a folder of images" if file.is_dir() else "no such file"
        raise UserError(f"{where}: {hint}")
    frames = []
    lines: dict[str, int] = {}
    rows = read_rows(file, where, ("path",), COLUMNS)
    for name in rows[0][1] if rows else ():
        meant = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.8)
        if meant and name not in COLUMNS:
            raise UserError(f"{where}: unknown column {name!r}; did you mean {meant[0]!r}?")
    for line, row in rows:
        name = row["path"]
        if not name:
            raise UserError(f"{where}, line {line}: the path is empty")
        path = file.parent / name
        key = os.path.normpath(path)
        if key in lines:
            raise UserError(f"{where}, line {line}: {name} is already listed in line {lines[key]}; remove one of them")
        lines[key] = line
        split = row.get("split") or None
        if split is not None:
            if split.lower() not in SPLIT_NAMES:
                raise UserError(f"{where}, line {line}: unknown split {split!r}; expected train, validation or test")
            split = SPLIT_NAMES[split.lower()]
        # The name must be the same wherever the data lies.
        name = os.path.relpath(name, file.parent) if os.path.isabs(name) else name
        label, group, modality = (row.get(column) or None for column in ("label", "group", "modality"))
        frames.append(RawFrame(name, path, label, group, split, modality))
    if not frames:
        raise UserError(
            f"{where}: the table lists no image; expected a header path,label,... and a line for each image"
        )
    return frames


def read_rows(
    file: Path, where: str, required: Sequence[str], optional: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table with their line numbers. Names of columns and values are stripped of blanks.

    Args:
        file: the table, UTF-8.
        where: what names it in errors.
        required: columns that must be there.
        optional: columns that are read if they are there; all others are ignored.

    Raises:
        UserError: the file is not text, a required column is missing, one of these columns occurs twice, or a row has
            too many fields.
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
                raise UserError(f"{where}: column {repeated[0]!r} occurs twice in the first line; rename one of them")
            rows = []
            for row in reader:
                # DictReader keeps surplus fields under None.
                if None in row:
                    raise UserError(
                        f"{where}, line {reader.line_num}: more fields than the {len(names)} columns in line 1; "
                        "quote paths that contain a comma"
                    )
                rows.append((reader.line_num, {name: (value or "").strip() for name, value in row.items()}))
            return rows
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{where}: not a table of comma-separated values ({error})") from error
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); check its permissions") from error


SOURCE = Source(
    "FILE",
    list=lambda file, where: Listing(file.parent, tuple(list_table(file, where))),
    takes_root=True,
)
