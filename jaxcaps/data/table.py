"""`--data=csv:FILE`: a table of images with the columns path[,label][,group][,split].

Columns may come in any order; others are ignored. Paths are relative to the table's folder. A blank label is
unknown, a blank group an image on its own.
"""

import csv
import os
from pathlib import Path

from jaxcaps.data.files import ImageFiles
from jaxcaps.data.items import SPLIT_NAMES, Item
from jaxcaps.errors import UserError


def open_csv(file: Path) -> ImageFiles:
    """The images that a table lists, in its order.

    Raises:
        UserError: no such file, no text, no `path` column, a row without a path or with too many fields, a path
            listed twice, an unknown name of a split. Line and value are named.
    """
    where = f"--data=csv:{file}"
    if not file.is_file():
        hint = "it is a folder; a folder of images is folder:DIR" if file.is_dir() else "no such file"
        raise UserError(f"{where}: {hint}")
    items, paths = [], []
    lines: dict[str, int] = {}
    for line, row in _rows(file, where):
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
        items.append(Item(name, row.get("label") or None, row.get("group") or None, split))
        paths.append(path)
    if not items:
        raise UserError(f"{where}: the table lists no image; expected a line path,label,... and then one per image")
    return ImageFiles(items, paths)


def _rows(file: Path, where: str) -> list[tuple[int, dict[str, str]]]:
    """The rows with their line numbers, names and values stripped of blanks."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            if names and "path" not in names:
                raise UserError(
                    f"{where}: no column 'path' in the first line; found {', '.join(map(repr, names))}. "
                    "Expected path,label and optionally group,split, separated by commas"
                )
            repeated = [name for name in ("path", "label", "group", "split") if names.count(name) > 1]
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
