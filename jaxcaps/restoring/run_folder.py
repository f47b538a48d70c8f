"""What the files of a run folder say of the run."""

import json
import math
from pathlib import Path
from typing import Any

from data_prep.pipeline.applying import FittedSteps
from jaxcaps.config import read_yaml
from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config, recorded_config

CONFIG, PREPARATION, LEARNT, METRICS = "config.yaml", "preparation.json", "learnt_from.txt", "metrics.json"


def read_config(folder: Path) -> Config:
    """Reads the configuration of a run folder.

    Raises:
        UserError: the folder has no configuration, or one that this version cannot read.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the --out of an earlier run")
    if not path.is_file():
        raise UserError(f"{folder} is not a run folder: it has no {CONFIG}; give the --out of an earlier run")
    return recorded_config(read_yaml(path), str(path))


def read_preparation(folder: Path) -> FittedSteps | None:
    """Reads the steps of a run's pictures; None if they were not prepared by `data_prep`.

    Raises:
        UserError: they were not written by this version.
    """
    path = folder / PREPARATION
    if not path.is_file():
        return None
    try:
        return FittedSteps.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} was not written by this version: {error!r}; train the run again") from None


def read_learnt(folder: Path) -> frozenset[str]:
    """Returns the contents of the pictures that a run, and the runs it was restored from, were trained on."""
    path = folder / LEARNT
    return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()


def is_finished(folder: Path) -> bool:
    """Whether the run in this folder has finished: `metrics.json` is the last file it writes."""
    return (folder / METRICS).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; null becomes NaN.

    Raises:
        UserError: the file is missing or not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; was it moved or deleted?") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; make it again by repeating the command that wrote it") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged: expected an object, found {type(values).__name__}")
    return {name: defined(value) for name, value in values.items()}


def defined(value: Any) -> Any:
    """The value with NaN for null, at any depth."""
    if isinstance(value, dict):
        return {name: defined(each) for name, each in value.items()}
    if isinstance(value, list):
        return [defined(each) for each in value]
    return math.nan if value is None else value
