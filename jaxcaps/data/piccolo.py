"""`--data=piccolo:DIR`: the PICCOLO release as it lies on disk, prepared into a cache folder when it is first used."""

import dataclasses
import hashlib
import logging
import os
from pathlib import Path

from data_prep.config import PRESETS, Preparation
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.table import open_csv
from jaxcaps.errors import UserError

log = logging.getLogger("jaxcaps")

# Prepared pictures are at least as large as the study's; training resizes them to --image-size.
LEAST_SIZE = 224


def open_piccolo(folder: Path, image_size: int) -> ImageFiles:
    """The prepared frames of a release.

    They are made by `data_prep` with its endoscopy preset, into `cache_folder()`; a later run makes only what changed
    in the release since. To prepare otherwise, call `python -m data_prep` and train on `csv:OUT/labels.csv`.

    Raises:
        UserError: no release, or the cache folder cannot be written.
    """
    # It draws figures and opens a database: other data need not wait for that.
    from data_prep.pipeline.prepare import prepare

    steps = dataclasses.replace(PRESETS["endoscopy"], size=max(LEAST_SIZE, image_size))
    source = f"piccolo:{folder.resolve()}"
    name = hashlib.sha256(repr((source, steps)).encode()).hexdigest()[:12]
    out = cache_folder() / f"piccolo-{name}"
    log.info("PICCOLO: preparing %s into %s, if it is not there yet", folder, out)
    try:
        done = prepare(Preparation(source=source, out=str(out), steps=steps), log.info)
    except UserError as error:
        raise UserError(f"--data=piccolo:{folder}: preparing it into {out}: {error}") from error
    log.info(done.summary(str(out)))
    return open_csv(out / "labels.csv")


def cache_folder() -> Path:
    """`JAXCAPS_CACHE` where it is set, else `jaxcaps` in the user's cache folder (`XDG_CACHE_HOME` or `~/.cache`)."""
    told = os.environ.get("JAXCAPS_CACHE")
    if told:
        return Path(told).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "jaxcaps").absolute()
