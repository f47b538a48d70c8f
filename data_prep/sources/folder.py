"""A folder of images: class folders, split folders with class folders, or images only.

- `DIR/<class>/.../image.png`: the first level names the class.
- `DIR/<split>/<class>/.../image.png`: all folders of the first level are called train, validation (val, valid) or test.
- `DIR/image.png` or `DIR/<split>/image.png`: unlabelled.

Hidden files and files without the suffix of an image are ignored.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from data_prep.errors import UserError
from data_prep.images.formats import SUFFIXES
from data_prep.sources.listing import Listing, RawFrame, Skipped, Source
from data_prep.splits import SPLIT_NAMES


def list_folder(folder: Path, where: str) -> list[RawFrame]:
    """The images below a folder, ordered by path.

    Args:
        folder: the folder.
        where: what names it in errors, such as "--data=folder:DIR".

    Raises:
        UserError: the folder is missing or has no image, a class folder has no image, images or other folders lie
            beside split folders, or split folders lie one level further down.
    """
    if not folder.is_dir():
        hint = "it is a file; use csv:FILE for a table of images" if folder.is_file() else "no such folder"
        raise UserError(f"{where}: {hint}")
    level = _folders(folder)
    named = [path for path in level if path.name.lower() in SPLIT_NAMES]
    if len(named) < len(level) and any(map(_folders, named)):
        odd = next(path.name for path in level if path not in named)
        raise UserError(
            f"{where}: {', '.join(path.name for path in named)} are named like splits, but {odd} is not. Splits are "
            "called train, validation (or val, valid) and test: rename the folder or move it away"
        )
    inner = _folders(level[0]) if len(level) == 1 and not named else []
    if inner and all(path.name.lower() in SPLIT_NAMES for path in inner):
        raise UserError(f"{where}: the split folders lie in {level[0].name}; use {where}/{level[0].name}")
    if level and len(named) == len(level):
        loose = [path for path in _files(folder) if _is_image(path)]
        if loose:
            raise UserError(
                f"{where}: {loose[0].name} lies beside the split folders "
                f"({', '.join(path.name for path in level)}); move it into one of them"
            )
        found: list[tuple[Path, str | None, str | None]] = [
            (path, label, SPLIT_NAMES[top.name.lower()])
            for top in level
            for path, label in _labelled(top, folder, where)
        ]
    else:
        found = [(path, label, None) for path, label in _labelled(folder, folder, where)]
    if not found:
        suffixes = sorted({path.suffix or path.name for path in _files_below(folder)})
        seen = f"only files named {', '.join(suffixes[:10])}" if suffixes else "no file at all"
        raise UserError(f"{where}: no image found, {seen}; expected the suffixes {', '.join(sorted(SUFFIXES))}")
    found.sort(key=lambda entry: entry[0].relative_to(folder).as_posix())
    return [RawFrame(path.relative_to(folder).as_posix(), path, label, split=split) for path, label, split in found]


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder and the folders below it, ordered by path."""
    return sorted(filter(_is_image, _files_below(folder)), key=lambda path: path.relative_to(folder).as_posix())


def list_source(folder: Path, where: str) -> Listing:
    """The images below a folder; other files that are not hidden are skipped. Raises as `list_folder`."""
    frames = list_folder(folder, where)
    others = sorted(path.relative_to(folder).as_posix() for path in _files_below(folder) if not _is_image(path))
    return Listing(folder, tuple(frames), tuple(Skipped(name, "its suffix is not that of an image") for name in others))


def _labelled(top: Path, root: Path, where: str) -> Iterator[tuple[Path, str | None]]:
    """The images of the class folders in `top` with their labels, and the images in `top` itself without."""
    for path in _files(top):
        if _is_image(path):
            yield path, None
    empty: list[str] = []
    count = 0
    for class_folder in _folders(top):
        images = [path for path in _files_below(class_folder) if _is_image(path)]
        if not images:
            empty.append(class_folder.relative_to(root).as_posix())
        count += len(images)
        for path in images:
            yield path, class_folder.name
    # If no class has an image, "no image found" says more than the first empty class.
    if empty and count:
        raise UserError(f"{where}: class folder {empty[0]!r} has no image; add images or remove the folder")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _folders(top: Path) -> list[Path]:
    return sorted(path for path in top.iterdir() if path.is_dir() and not _hidden(path.name))


def _files(top: Path) -> list[Path]:
    return sorted(path for path in top.iterdir() if path.is_file() and not _hidden(path.name))


def _files_below(top: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(top):
        subfolders[:] = [name for name in subfolders if not _hidden(name)]
        for name in names:
            if not _hidden(name):
                yield Path(folder, name)


SOURCE = Source("DIR", list_source)
