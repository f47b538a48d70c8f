"""The kinds of data that `--data` takes. Each is one module here, which defines `SOURCE`."""

import re
from pathlib import Path

from data_prep.registry import Registry
from data_prep.spec import DataSpec
from jaxcaps.data.source import Settings, Source, SourceKind

SOURCES: Registry[SourceKind] = Registry("jaxcaps.data.sources", "SOURCE", what="kind of data")


def parse_data(text: str, flag: str = "--data") -> DataSpec:
    """Reads what a user gave as `--data`.

    Raises:
        UserError: an unknown kind, or a place that is missing or not wanted.
    """
    return DataSpec.parse(text, {name: kind.place for name, kind in SOURCES.items()}, flag)


def open_source(text: str, *, synthetic_count: int, synthetic_seed: int, image_size: int) -> Source:
    """Opens what `--data` names, without decoding a picture. PICCOLO is prepared first, unless it already is.

    Args:
        text: such as "synthetic" or "folder:DIR", see `SOURCES`.
        synthetic_count: number of frames of the built-in set.
        synthetic_seed: its seed.
        image_size: the side in pixels at which its frames are drawn. PICCOLO is prepared at no less.

    Raises:
        UserError: an unknown kind, a place that is missing or holds something else.
    """
    spec = parse_data(text)
    return SOURCES[spec.kind].open(spec, Settings(image_size, synthetic_count, synthetic_seed))


def absolute(text: str) -> str:
    """`--data` with its path made absolute, so that a run can be used from any folder."""
    spec = parse_data(text)
    return str(spec.absolute(named=_named(spec)))


def anonymous(text: str) -> str:
    """`--data` without folders: the kind, and the name or the last part of the path."""
    spec = parse_data(text)
    return spec.anonymous(named=_named(spec))


def short_name(text: str) -> str:
    """For names of files: `chest` of csv:/data/chest/labels.csv, folder:/data/chest and tfds:chest."""
    spec = parse_data(text)
    path = Path(spec.place)
    path = path.parent if path.stem == "labels" else path
    name = path.stem if SOURCES[spec.kind].place == "FILE" else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name or spec.kind)


def _named(spec: DataSpec) -> bool:
    return SOURCES[spec.kind].place == "NAME"
