"""Which prepared set `tfds:NAME[/CONFIG][:VERSION][@DIR]` names, and what to do where there is none.

Sets lie below TFDS's data folder as NAME/VERSION or NAME/CONFIG/VERSION. The folder is DIR, else the environment
variable TFDS_DATA_DIR, else ~/tensorflow_datasets. Only folders are looked at: TFDS's own search imports the code of
the set's builder too, which may ask for TensorFlow, or looks the name up on the internet.
"""

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

from jaxcaps.errors import UserError

# The key of a set's metadata under which our builders say what `data_prep` fitted on its training split.
FITTED = "data_prep_fitted"
# What TFDS takes for a name.
NAME = re.compile(r"[a-zA-Z]\w*")
SPEC = re.compile(
    rf"(?P<name>{NAME.pattern})"
    r"(?:/(?P<config>[\w.\-]+))?(?::(?P<version>(?:\d+|\*)\.(?:\d+|\*)\.(?:\d+|\*)))?"
    r"(?:@(?P<folder>.+))?"
)
VERSION = re.compile(r"\d+\.\d+\.\d+")


class PreparedSet(NamedTuple):
    """A set that `download_and_prepare` has written."""

    name: str
    config: str | None
    version: tuple[int, ...]
    data_folder: Path

    @property
    def full_name(self) -> str:
        """With its configuration, but without the version."""
        return self.name if self.config is None else f"{self.name}/{self.config}"

    @property
    def folder(self) -> Path:
        return self.data_folder / self.full_name / ".".join(map(str, self.version))


def find(spec: str) -> PreparedSet:
    """The prepared set that a specification names: of several versions the highest that fits.

    Args:
        spec: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION (VERSION as 1.0.0 or 1.*.*), and @DIR after it
            for sets that lie elsewhere than TFDS looks.

    Raises:
        UserError: not such a specification, no such folder, a set that is not prepared there, or several
            configurations of which none is named.
    """
    where = f"--data=tfds:{spec}"
    parsed = SPEC.fullmatch(spec)
    if parsed is None:
        raise UserError(
            f"{where}: expected tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:VERSION (as mnist or "
            "mnist_corrupted/fog:1.0.0), and @DIR after it for sets in a folder of your own"
        )
    data_folder = _data_folder(parsed["folder"])
    prepared = _prepared(data_folder)
    named = [entry for entry in prepared if entry.name == parsed["name"]]
    if not named:
        raise UserError(f"{where}: {_not_prepared(parsed['name'], parsed['config'], prepared, data_folder)}")
    fitting = [entry for entry in named if parsed["config"] in (None, entry.config)]
    if parsed["version"] is not None:
        fitting = [entry for entry in fitting if _matches(entry.version, parsed["version"])]
    if not fitting:
        listed = ", ".join(f"{entry.full_name}:{entry.folder.name}" for entry in named)
        raise UserError(f"{where}: {data_folder} has {listed}; name one of these, or prepare yours")
    configs = {entry.config for entry in fitting}
    if len(configs) > 1 and None not in configs:
        listed = ", ".join(sorted(f"tfds:{parsed['name']}/{config}" for config in configs))
        raise UserError(f"{where}: several configurations are prepared in {data_folder}; name one of {listed}")
    config = None if None in configs else next(iter(configs))
    return max((entry for entry in fitting if entry.config == config), key=lambda entry: entry.version)


def how_to_prepare(full_name: str, data_folder: Path) -> str:
    """The command that prepares a registered set, and what it may need."""
    where = f"data_dir='{data_folder}'"
    if full_name == "piccolo":
        return f'python -c "from jaxcaps.data.tfds.builders import Piccolo; Piccolo({where}).download_and_prepare()"'
    return (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{full_name}', {where}, "
        "file_format='array_record').download_and_prepare()\" (it may download; training never does). A builder that "
        "hands TFDS arrays instead of image files needs TensorFlow to be prepared (pip install tensorflow, best in an "
        "environment of its own), not to be read"
    )


def _data_folder(named: str | None) -> Path:
    return Path(named or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _prepared(data_folder: Path) -> list[PreparedSet]:
    """All sets below a data folder. features.json is written by TFDS since version 4, when a set is complete."""
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
    """What is there instead, what was probably meant, and how to prepare the set."""
    names = sorted({entry.name for entry in prepared})
    if not data_folder.is_dir():
        there = f"it is not prepared: there is no folder {data_folder}"
    else:
        there = f"it is not prepared: {data_folder} has {', '.join(names) or 'no set'}"
    there += " (sets in another folder: TFDS_DATA_DIR=DIR, or tfds:NAME@DIR)"
    registered = _registered()
    if name in registered:
        return f"{there}. To prepare it: {how_to_prepare(name if config is None else f'{name}/{config}', data_folder)}"
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"{there}; did you mean tfds:{close[0]}?"
    close = difflib.get_close_matches(name, registered, n=1, cutoff=0.7)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"{there}. TFDS knows no set of that name{meant}; docs/tfds.md says how to prepare images of your own"


def _registered() -> list[str]:
    """The sets whose builders come with TFDS, and our own. The list of community sets is on the internet: left out."""
    import tensorflow_datasets as tfds

    # Importing it registers PICCOLO's builder.
    import jaxcaps.data.tfds.builders  # noqa: F401

    return list(tfds.list_builders(with_community_datasets=False))
