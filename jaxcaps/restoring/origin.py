"""What kind of thing a `--restore` names, and what it says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep.pipeline.applying import FittedSteps
from data_prep.spec import expanded
from jaxcaps.config import DataConfig
from jaxcaps.errors import UserError, nearest
from jaxcaps.plan.config import Config
from jaxcaps.restoring import bundle, tensor_file
from jaxcaps.restoring.run_folder import CONFIG, METRICS, read_config, read_learnt, read_preparation

PUBLISHED = Path(__file__).parent.parent / "pretrained"
PREFIX = "pretrained:"
# The parameters in a bundle, and in what `--to=safetensors` writes.
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Origin:
    """A trained network.

    Attributes:
        name: what `--restore` was given.
        place: a safetensors file or the folder of a run. A bundle is unpacked to a temporary folder.
        travels: whether it is a file. Its configuration names no folders, so it does not say where its data lies.
    """

    name: str
    place: Path
    travels: bool

    @property
    def is_run(self) -> bool:
        """Whether it is a whole run, with its results, and not parameters alone."""
        return self.place.is_dir()

    @cached_property
    def stored(self) -> tensor_file.Stored | None:
        """The content of its safetensors file; None for a run folder, which has checkpoints instead."""
        file = self.place / MODEL if self.is_run else self.place
        return tensor_file.read_tensors(file) if file.is_file() else None

    @cached_property
    def config(self) -> Config:
        return read_config(self.place) if self.stored is None else self.stored.config

    @property
    def learnt_from(self) -> frozenset[str]:
        """The contents of the pictures it was trained on, see `jaxcaps.data.reading.content`."""
        return read_learnt(self.place) if self.stored is None else self.stored.learnt_from

    @property
    def prepared(self) -> FittedSteps | None:
        """The steps with which `data_prep` made these pictures, or None."""
        return read_preparation(self.place) if self.stored is None else self.stored.prepared

    @property
    def title(self) -> str:
        """The name of the run."""
        return self.place.absolute().name if self.stored is None else str(self.stored.more.get("name", self.place.stem))

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of the finished run, as in its `metrics.json`.

        Raises:
            UserError: the run has not finished, or the file is an encoder.
        """
        if self.stored is not None and "metrics" in self.stored.more:
            found: dict[str, Any] = self.stored.more["metrics"]
            return found
        try:
            found = json.loads((self.folder / METRICS).read_text(encoding="utf-8"))
        except OSError:
            raise UserError(
                f"--restore={self.name} has not finished; repeat the command of the run, which goes on"
            ) from None
        except ValueError as error:
            raise UserError(
                f"{self.folder / METRICS} is damaged ({error}); remove it and repeat the command of the run"
            ) from None
        return found

    @property
    def folder(self) -> Path:
        """The folder of the run, with its results.

        Raises:
            UserError: it has no results.
        """
        if not self.is_run:
            raise UserError(
                f"--restore={self.name} holds parameters and no results of a run; give the folder of the run or its "
                "bundle"
            )
        return self.place

    @property
    def own_folder(self) -> Path:
        """The folder of the run, to write to.

        Raises:
            UserError: it is a file.
        """
        if self.travels:
            raise UserError(f"--restore={self.name} is a file, which nothing is added to; give --out")
        return self.folder

    def check_data(self, data: str | None) -> None:
        """Checks that the place of the data is known.

        Args:
            data: the value of `--data`, if it was given.

        Raises:
            UserError: it is not given, and the file does not know it.
        """
        if self.travels and data is None and self.config.data.data != DataConfig.data:
            raise UserError(
                f"--restore={self.name}: it was trained on {self.config.data.data} and does not hold the pictures; "
                "give your data with --data"
            )


def published() -> tuple[str, ...]:
    """Returns the names of the encoders that come with the library."""
    return tuple(sorted(path.stem for path in PUBLISHED.glob(f"*{tensor_file.SUFFIX}")))


def find_origin(restore: str | Path | Origin) -> Origin:
    """Finds what `--restore` names: the folder of a run, FILE.jaxcaps (a run as one file), FILE.safetensors, the folder
    that `--to=safetensors` wrote, or `pretrained:NAME`. A folder is not read before it is asked for something.

    Raises:
        UserError: there is nothing of that name, or a bundle is damaged.
    """
    if isinstance(restore, Origin):
        return restore
    name = str(restore)
    if name.startswith(PREFIX):
        encoder = name.removeprefix(PREFIX)
        if encoder not in published():
            raise UserError(f"--restore={name}: no such encoder{nearest(encoder, published())}")
        return Origin(name, PUBLISHED / f"{encoder}{tensor_file.SUFFIX}", True)
    path = expanded(name)
    if path.is_dir():
        exported = (path / MODEL).is_file() and not (path / CONFIG).exists()
        return Origin(name, path / MODEL if exported else path, exported)
    if not path.exists():
        raise UserError(f"--restore={name}: no such folder or file; give the --out of an earlier run")
    if path.suffix == bundle.SUFFIX:
        return Origin(name, bundle.unpack(path), True)
    if path.suffix == tensor_file.SUFFIX:
        return Origin(name, path, True)
    raise UserError(f"--restore={name}: expected the folder of a run, FILE{bundle.SUFFIX} or FILE{tensor_file.SUFFIX}")
