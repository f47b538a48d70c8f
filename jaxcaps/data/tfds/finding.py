"""Finds the prepared data set that `tfds:NAME[/CONFIG][:VERSION][@DIR]` names, or explains how to prepare it.

Data sets are stored below TFDS's data folder as NAME/VERSION or NAME/CONFIG/VERSION. The folder is DIR, else the
environment variable TFDS_DATA_DIR, else ~/tensorflow_datasets. This module only reads folders. TFDS's own search also
imports the builder, which may need TensorFlow, or looks the name up on the internet.
"""

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

from data_prep.spec import DataSpec
from jaxcaps.errors import UserError

# The metadata key for the steps with which `data_prep` made the pictures.
PREPARED = "data_prep"
# The names that TFDS accepts.
NAME = re.compile(r"[a-zA-Z]\w*")
SPEC = re.compile(
    rf"(?P<name>{NAME.pattern})"
    r"(?:/(?P<config>[\w.\-]+))?(?::(?P<version>(?:\d+|\*)\.(?:\d+|\*)\.(?:\d+|\*)))?"
)
VERSION = re.compile(r"\d+\.\d+\.\d+")


class PreparedSet(NamedTuple):
    """A data set written by `download_and_prepare`."""

    name: str
    config: str | None
    version: tuple[int, ...]
    data_folder: Path

    @property
    def full_name(self) -> str:
        """The name with the configuration, without the version."""
        return self.name if self.config is None else f"{self.name}/{self.config}"

    @property
    def folder(self) -> Path:
        return self.data_folder / self.full_name / ".".join(map(str, self.version))


def find(spec: DataSpec) -> PreparedSet:
    """Finds the prepared data set that a specification names, with the highest version that matches.

    Args:
        spec: its place is NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION (VERSION such as 1.0.0 or 1.*.*). Its
            folder is the data folder, or "" for TFDS's default.

    Raises:
        UserError: the specification is malformed, the folder does not exist, the data set is not prepared there, or it
            has several configurations and none is named.
    """
    where = f"--data={spec}"
    parsed = SPEC.fullmatch(spec.place)
    if parsed is None:
        raise UserError(
            f"{where}: expected tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:VERSION (such as mnist or "
            "mnist_corrupted/fog:1.0.0), followed by @DIR for data sets in another folder"
        )
    data_folder = Path(spec.folder or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    prepared = _prepared(data_folder)
    named = [entry for entry in prepared if entry.name == parsed["name"]]
    if not named:
        raise UserError(f"{where}: {_not_prepared(parsed['name'], parsed['config'], prepared, data_folder)}")
    fitting = [entry for entry in named if parsed["config"] in (None, entry.config)]
    if parsed["version"] is not None:
        fitting = [entry for entry in fitting if _matches(entry.version, parsed["version"])]
    if not fitting:
        listed = ", ".join(f"{entry.full_name}:{entry.folder.name}" for entry in named)
        raise UserError(f"{where}: {data_folder} has {listed}; name one of these, or prepare the set")
    configs = {entry.config for entry in fitting}
    if len(configs) > 1 and None not in configs:
        listed = ", ".join(sorted(f"tfds:{parsed['name']}/{config}" for config in configs))
        raise UserError(f"{where}: several configurations are prepared in {data_folder}; name one of {listed}")
    config = None if None in configs else next(iter(configs))
    return max((entry for entry in fitting if entry.config == config), key=lambda entry: entry.version)


def how_to_prepare(full_name: str, data_folder: Path) -> str:
    """The command that prepares a registered data set, and its possible requirements."""
    where = f"data_dir='{data_folder}'"
    if full_name == "piccolo":
        return f'python -c "from jaxcaps.data.tfds.builders import Piccolo; Piccolo({where}).download_and_prepare()"'
    return (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{full_name}', {where}, "
        "file_format='array_record').download_and_prepare()\" (it may download; training never does). Builders that "
        "pass arrays instead of image files to TFDS need TensorFlow for this step (pip install tensorflow, preferably "
        "in a separate environment), but not for training"
    )


def _prepared(data_folder: Path) -> list[PreparedSet]:
    """All data sets below a data folder. TFDS (version 4 or newer) writes features.json when a data set is complete."""
    found = []
    for pattern in ("*/*/features.json", "*/*/*/features.json"):
        for file in sorted(data_folder.glob(pattern)):
            name, *configs, version = file.parent.relative_to(data_folder).parts
            if VERSION.fullmatch(version):
                numbers = tuple(map(int, version.split(".")))
                found.append(PreparedSet(name, configs[0] if configs else None, numbers, data_folder))
    return found


def _matches(version: tuple[int, ...], wanted: str) -> bool:
    return all(part in ("*", str(number)) for number, part in zip(version, wanted.split("."), strict=True))


def _not_prepared(name: str, config: str | None, prepared: list[PreparedSet], data_folder: Path) -> str:
    """Explains which data sets exist, which one was probably meant, and how to prepare it."""
    names = sorted({entry.name for entry in prepared})
    if not data_folder.is_dir():
        there = f"it is not prepared: the folder {data_folder} does not exist"
    else:
        there = f"it is not prepared: {data_folder} has {', '.join(names) or 'no data sets'}"
    there += " (for another folder, set TFDS_DATA_DIR=DIR or give tfds:NAME@DIR)"
    registered = _registered()
    if name in registered:
        return f"{there}. To prepare it: {how_to_prepare(name if config is None else f'{name}/{config}', data_folder)}"
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"{there}; did you mean tfds:{close[0]}?"
    close = difflib.get_close_matches(name, registered, n=1, cutoff=0.7)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return (
        f"{there}. TFDS has no data set of that name{meant}; see docs/how-to/tfds.md for how to prepare your own images"
    )


def _registered() -> list[str]:
    """The data sets whose builders come with TFDS, and ours. Community data sets, listed only online, are left out."""
    import tensorflow_datasets as tfds

    # The import registers PICCOLO's builder.
    import jaxcaps.data.tfds.builders  # noqa: F401

    return list(tfds.list_builders(with_community_datasets=False))
