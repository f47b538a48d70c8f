"""Opens what `--source` names: lists its frames and applies `--root`, `--exclude`, `--modality-csv` and `--split`."""

import os
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.sources import SOURCES
from data_prep.sources.csv import read_rows
from data_prep.sources.listing import MODALITIES, Listing, Skipped
from data_prep.sources.remarks import remarks
from data_prep.spec import DataSpec

# What data sets call the two modalities.
MODALITY_NAMES = dict.fromkeys(("wl", "wli", "white light", "white-light"), "WL")
MODALITY_NAMES |= dict.fromkeys(("nbi", "narrow band", "narrow-band", "narrow band imaging"), "NBI")


def open_source(config: Preparation) -> Listing:
    """Lists the frames of `--source` without opening a picture.

    Raises:
        UserError: an unknown kind, a path that is missing or holds something else, a faulty table, or a pattern of
            `--exclude` that matches no picture.
    """
    spec = DataSpec.parse(config.source, {kind: source.place for kind, source in SOURCES.items()}, "--source")
    source = SOURCES[spec.kind]
    listing = source.list(Path(spec.place).expanduser().absolute(), f"--source={config.source}")
    if config.root is not None:
        if not source.takes_root:
            raise UserError(f"--root={config.root}: does not apply to {spec.kind}; drop the flag")
        root = Path(config.root).expanduser().absolute()
        if not root.is_dir():
            raise UserError(f"--root={config.root}: no such folder")
        listing = replace(listing, root=root)
    listing = _inside(_without(listing, config.exclude))
    if config.modality_csv is not None:
        listing = _with_modalities(listing, Path(config.modality_csv).expanduser())
    frames = tuple(
        frame._replace(modality=_modality(frame.modality), split=config.split or frame.split)
        for frame in listing.frames
    )
    notes = remarks([frame.name for frame in frames], [frame.label for frame in frames])
    return replace(listing, frames=frames, notes=(*listing.notes, *notes))


def _without(listing: Listing, patterns: tuple[str, ...]) -> Listing:
    """Leaves out the frames whose path or name matches a pattern."""
    skipped: dict[str, str] = {}
    for pattern in patterns:
        found = [
            frame.name
            for frame in listing.frames
            if fnmatchcase(frame.name, pattern) or fnmatchcase(os.path.basename(frame.name), pattern)
        ]
        if listing.frames and not found:
            raise UserError(
                f"--exclude={pattern}: it matches no picture of the source; their names are such as "
                f"{listing.frames[0].name}"
            )
        skipped |= dict.fromkeys(found, f"--exclude={pattern}")
    frames = tuple(frame for frame in listing.frames if frame.name not in skipped)
    return replace(listing, frames=frames, skipped=(*listing.skipped, *map(Skipped, skipped, skipped.values())))


def _inside(listing: Listing) -> Listing:
    """Leaves out frames that lie elsewhere, by `..`, an absolute path or a symbolic link."""
    root = listing.root.resolve()
    frames, skipped = [], list(listing.skipped)
    for frame in listing.frames:
        try:
            inside = frame.path.resolve().is_relative_to(root)
        except (OSError, RuntimeError):  # a loop of links
            skipped.append(Skipped(frame.name, "its symbolic links lead nowhere"))
            continue
        except ValueError:
            skipped.append(Skipped(frame.name, "its path contains a character that paths cannot have"))
            continue
        if not inside:
            linked = Path(os.path.normpath(frame.path)).is_relative_to(os.path.normpath(listing.root))
            how = "a symbolic link leads" if linked else "it lies"
            skipped.append(Skipped(frame.name, f"{how} outside the source folder {listing.root}"))
            continue
        void = frame.void
        if void is not None and not void.resolve().is_relative_to(root):
            frame = frame._replace(void=None)
        frames.append(frame)
    return replace(listing, frames=tuple(frames), skipped=tuple(skipped))


def _with_modalities(listing: Listing, file: Path) -> Listing:
    """Sets the modality of the frames that a table names."""
    where = f"--modality-csv={file}"
    if not file.is_file():
        raise UserError(f"{where}: no such file")
    numbers = {frame.name: number for number, frame in enumerate(listing.frames)}
    frames = list(listing.frames)
    unknown, known = [], 0
    for line, row in read_rows(file, where, ("source", "modality"), ()):
        if not row["modality"]:
            continue
        if _modality(row["modality"]) not in MODALITIES:
            raise UserError(f"{where}, line {line}: modality {row['modality']!r} is neither WL nor NBI")
        if row["source"] in numbers:
            number = numbers[row["source"]]
            frames[number] = frames[number]._replace(modality=row["modality"])
            known += 1
        else:
            unknown.append(row["source"])
    if unknown and not known:
        raise UserError(
            f"{where}: it names no frame of the source. The first name is {unknown[0]!r}; expected names such as "
            f"{listing.frames[0].name!r}"
        )
    notes = listing.notes
    if unknown:
        notes += (f"{where} names {len(unknown)} files that are not frames of the source, such as {unknown[0]}.",)
    return replace(listing, frames=tuple(frames), notes=notes)


def _modality(text: str | None) -> str | None:
    """WL or NBI in any spelling; another modality as it is."""
    return None if text is None else MODALITY_NAMES.get(text.strip().lower(), text.strip())
