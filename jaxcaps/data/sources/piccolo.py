"""`--data=piccolo:DIR`: the published PICCOLO release, prepared into a cache folder at first use."""

import dataclasses
import hashlib
import logging
import os
from pathlib import Path

from data_prep.config import Preparation
from data_prep.presets import PRESETS
from data_prep.spec import DataSpec
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.source import Settings, SourceKind
from jaxcaps.data.sources.csv import open_csv
from jaxcaps.errors import UserError

log = logging.getLogger("jaxcaps")

# Prepared pictures are at least as large as in the study; training resizes them to --image-size.
LEAST_SIZE = 224


def open_piccolo(spec: DataSpec, settings: Settings) -> ImageFiles:
    """Opens the prepared frames of a release.

    `data_prep` makes them with its endoscopy preset in `cache_folder()`. Later runs only update frames whose raw frame
    has changed. To prepare the release differently, run `python -m data_prep` and train on `csv:OUT/labels.csv`.

    Raises:
        UserError: the folder is not a release, or the cache folder cannot be written to.
    """
    # The import is slow, and other data does not need it.
    from data_prep.pipeline.prepare import prepare

    wanted = preparation(Path(spec.place).expanduser(), settings.image_size)
    log.info("PICCOLO: preparing %s in %s, where needed", spec.place, wanted.out)
    try:
        done = prepare(wanted, log.info)
    except UserError as error:
        raise UserError(f"{settings.flag}={spec}: cannot prepare it in {wanted.out}: {error}") from error
    log.info(done.summary(wanted.out))
    return open_csv(DataSpec("csv", f"{wanted.out}/labels.csv"), settings)


def preparation(folder: Path, image_size: int) -> Preparation:
    """The options with which a release is prepared. Each picture size has its own folder."""
    steps = dataclasses.replace(PRESETS["endoscopy"], size=max(LEAST_SIZE, image_size))
    source = f"piccolo:{folder.resolve()}"
    name = hashlib.sha256(repr((source, steps)).encode()).hexdigest()[:12]
    return Preparation(source=source, out=str(cache_folder() / f"piccolo-{name}"), preset="endoscopy", steps=steps)


def cache_folder() -> Path:
    """`JAXCAPS_CACHE` if set, else `jaxcaps` in the user's cache folder (`XDG_CACHE_HOME` or `~/.cache`)."""
    told = os.environ.get("JAXCAPS_CACHE")
    if told:
        return Path(told).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "jaxcaps").absolute()


SOURCE = SourceKind(
    about="the PICCOLO release, prepared at first use into JAXCAPS_CACHE", open=open_piccolo, place="DIR"
)
