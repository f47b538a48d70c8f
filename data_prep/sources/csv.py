"""A table of images with the columns path[,label][,group][,split][,modality].

Columns are separated by commas, semicolons or tabs, may come in any order, and may be written in capitals. Others are
ignored, unless their names look like misspellings of these; a note says so if one names patients. Paths are relative to
the folder of the table. A blank label is unknown; a blank group is an image on its own.
"""

import csv
import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.sources.listing import Listing, RawFrame, Source
from data_prep.splits import SPLIT_NAMES

# Lies beside the table that `data_prep` writes, and says how the pictures were made.
DATASET = "dataset.yaml"
COLUMNS = ("label", "group", "split", "modality")
SEPARATORS = (",", ";", "\t")
# Columns that name what `group` should, once ids, numbers and punctuation are removed.
GROUPS = re.compile(
    r"(patient|subject|participant|person|donor|case|lesion|slide|smear|specimen|study|exam|animal)s?(id|no|nr|number|name|code)?"
)


def list_table(file: Path, where: str) -> Listing:
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
    names = list(rows[0][1]) if rows else []
    for name in names:
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
    notes = () if any(frame.group for frame in frames) else _not_grouped(names, [row for _, row in rows], where)
    return Listing(file.parent, tuple(frames), notes=notes)


def _not_grouped(names: Sequence[str], rows: Sequence[dict[str, str]], where: str) -> tuple[str, ...]:
    """Warns of columns that seem to name patients, of whom some have several images."""
    return tuple(
        f"Warning: {where}: the column {name!r} is ignored, and one {name!r} may lie in training and in test. Did you "
        "mean 'group'? Rename the column, and the images of each stay together"
        for name in names
        if GROUPS.fullmatch(re.sub(r"[^a-z]", "", name.lower())) and len({row[name] for row in rows}) < len(rows)
    )


def read_rows(
    file: Path, where: str, required: Sequence[str], optional: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table with their line numbers. Names of columns and values are stripped of blanks.

    The separator is that of the first line: a comma, a semicolon or a tab. The names of these columns are lower case in
    the result, however they are written.

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
            first = text.readline()
            text.seek(0)
            separator = max(SEPARATORS, key=first.count)
            reader = csv.DictReader(text, delimiter=separator)
            names = [name.strip() for name in reader.fieldnames or ()]
            names = [name.lower() if name.lower() in (*required, *optional) else name for name in names]
            reader.fieldnames = names
            missing = [name for name in required if name not in names]
            if names and missing:
                raise UserError(
                    f"{where}: no column {missing[0]!r} in the first line; found {', '.join(map(repr, names))}. "
                    f"Expected {','.join(required)} and optionally {','.join(optional)}, separated by commas, "
                    "semicolons or tabs"
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
                        f"quote values that contain {separator!r}"
                    )
                rows.append((reader.line_num, {name: (value or "").strip() for name, value in row.items()}))
            return rows
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{where}: not a table of values with separators ({error})") from error
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); check its permissions") from error


SOURCE = Source(
    "FILE",
    list_table,
    takes_root=True,
)
