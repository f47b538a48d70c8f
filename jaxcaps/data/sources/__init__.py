"""The kinds of data that `--data` accepts. Each module defines one as `SOURCE`."""

import re
from pathlib import Path

from data_prep.registry import Registry
from data_prep.spec import DataSpec
from jaxcaps.data.source import Settings, Source, SourceKind

SOURCES: Registry[SourceKind] = Registry("jaxcaps.data.sources", "SOURCE", what="kind of data")


def parse_data(text: str, flag: str = "--data") -> DataSpec:
    """Parses the value of `--data`.

    Raises:
        UserError: the kind is unknown, or the place is missing or not allowed.
    """
    return DataSpec.parse(text, {name: kind.place for name, kind in SOURCES.items()}, flag)


def open_source(text: str, *, synthetic_count: int, synthetic_seed: int, image_size: int) -> Source:
    """Opens the source that `--data` names without decoding a picture. PICCOLO is prepared first if necessary.

    Args:
        text: the value of `--data`, such as "synthetic" or "folder:DIR", see `SOURCES`.
        synthetic_count: number of frames of the built-in set.
        synthetic_seed: seed of the built-in set.
        image_size: side in pixels at which built-in frames are drawn. PICCOLO is prepared at this size or larger.

    Raises:
        UserError: the kind is unknown, or the place does not exist or holds other data.
    """
    spec = parse_data(text)
    return SOURCES[spec.kind].open(spec, Settings(image_size, synthetic_count, synthetic_seed))


def absolute(text: str) -> str:
    """Makes the path in `--data` absolute, so that a run can be used from any folder."""
    spec = parse_data(text)
    return str(spec.absolute(named=_named(spec)))


def anonymous(text: str) -> str:
    """Removes folders from `--data`: keeps the kind and the name or the last part of the path."""
    spec = parse_data(text)
    return spec.anonymous(named=_named(spec))


def short_name(text: str) -> str:
    """A short name for file names: `chest` for csv:/data/chest/labels.csv, folder:/data/chest and tfds:chest."""
    spec = parse_data(text)
    path = Path(spec.place)
    path = path.parent if path.stem == "labels" else path
    name = path.stem if SOURCES[spec.kind].place == "FILE" else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name or spec.kind)


def _named(spec: DataSpec) -> bool:
    return SOURCES[spec.kind].place == "NAME"
