"""What `--source` takes, listed: the frames, what was left out already, and what was noticed about the source."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.sources.csv import list_table, read_rows
from data_prep.sources.folder import list_folder, list_other_files
from data_prep.sources.listing import RawFrame, Skipped
from data_prep.sources.piccolo import list_piccolo

KINDS = ("piccolo", "folder", "csv")

# What data sets call the two modalities.
MODALITY_NAMES = {
    "wl": "WL",
    "wli": "WL",
    "white light": "WL",
    "white-light": "WL",
    "nbi": "NBI",
    "narrow band": "NBI",
    "narrow-band": "NBI",
    "narrow band imaging": "NBI",
}


@dataclass(frozen=True)
class Listing:
    """
    Attributes:
        root: the folder that is only read.
        frames: in order, their names unique.
        skipped: files that are left out.
        notes: sentences for the report.
        official: the split is the publisher's: it is kept even where groups straddle it.
    """

    root: Path
    frames: tuple[RawFrame, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()
    official: bool = False


def open_source(config: Preparation) -> Listing:
    """Lists what `--source` names, without opening an image.

    Raises:
        UserError: an unknown kind, a path that is missing or holds something else, a faulty table.
    """
    kind, _, path = config.source.partition(":")
    where = f"--source={config.source}"
    if kind not in KINDS or not path:
        raise UserError(f"{where}: expected piccolo:DIR, folder:DIR or csv:FILE{_suggestion(config.source)}")
    if config.root is not None and kind != "csv":
        raise UserError(f"--root={config.root}: is for csv:FILE; a {kind} is its own root")
    place = Path(path).expanduser().absolute()
    if kind == "folder":
        frames = list_folder(place, where)
        others = [Skipped(name, "no image by its name's ending") for name in list_other_files(place)]
        listing = Listing(place, tuple(frames), tuple(others))
    elif kind == "csv":
        frames = list_table(place, where)
        listing = Listing(_root(config.root) if config.root else place.parent, tuple(frames), ())
    else:
        found = list_piccolo(place, where)
        listing = Listing(place, found.frames, found.skipped, found.notes, official=True)
    listing = _inside(listing)
    if config.modality_csv is not None:
        listing = _with_modalities(listing, Path(config.modality_csv).expanduser())
    frames = [frame._replace(modality=_modality(frame.modality)) for frame in listing.frames]
    return replace(listing, frames=tuple(frames))


def _root(root: str) -> Path:
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"--root={root}: no such folder")
    return folder


def _inside(listing: Listing) -> Listing:
    """Without the frames that lie elsewhere, by `..`, an absolute path or a symbolic link."""
    root = listing.root.resolve()
    frames, skipped = [], list(listing.skipped)
    for frame in listing.frames:
        try:
            inside = frame.path.resolve().is_relative_to(root)
        except (OSError, RuntimeError):  # a loop of links
            skipped.append(Skipped(frame.name, "its symbolic links lead nowhere"))
            continue
        except ValueError:
            skipped.append(Skipped(frame.name, "its path holds a character that no path can have"))
            continue
        if not inside:
            how = "a symbolic link leads" if _normal(frame.path).is_relative_to(_normal(listing.root)) else "it lies"
            skipped.append(Skipped(frame.name, f"{how} out of the source folder {listing.root}"))
            continue
        void = frame.void
        if void is not None and not void.resolve().is_relative_to(root):
            frame = frame._replace(void=None)
        frames.append(frame)
    return replace(listing, frames=tuple(frames), skipped=tuple(skipped))


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _with_modalities(listing: Listing, file: Path) -> Listing:
    """The modality of the frames that a table names."""
    where = f"--modality-csv={file}"
    if not file.is_file():
        raise UserError(f"{where}: no such file")
    known = {frame.name: number for number, frame in enumerate(listing.frames)}
    frames = list(listing.frames)
    unknown, told = [], 0
    for line, row in read_rows(file, where, ("source", "modality"), ()):
        if not row["modality"]:
            continue
        if _modality(row["modality"]) not in ("WL", "NBI"):
            raise UserError(f"{where}, line {line}: modality {row['modality']!r} is neither WL nor NBI")
        if row["source"] in known:
            number = known[row["source"]]
            frames[number] = frames[number]._replace(modality=row["modality"])
            told += 1
        else:
            unknown.append(row["source"])
    if unknown and not told:
        raise UserError(
            f"{where}: it names no frame of the source, the first is {unknown[0]!r}; names are like "
            f"{listing.frames[0].name!r}"
        )
    notes = listing.notes
    if unknown:
        notes += (f"{where} names {len(unknown)} files that are no frames of the source, such as {unknown[0]}.",)
    return replace(listing, frames=tuple(frames), notes=notes)


def _modality(text: str | None) -> str | None:
    """WL or NBI, however it was written; another modality as it is."""
    return None if text is None else MODALITY_NAMES.get(text.strip().lower(), text.strip())


def _suggestion(source: str) -> str:
    """What was probably meant."""
    path = Path(source).expanduser()
    if path.is_dir():
        return f"; did you mean --source=folder:{source}?"
    if path.suffix.lower() == ".csv":
        return f"; did you mean --source=csv:{source}?"
    return ""
