"""Pictures without labels or splits, from files or arrays, in batches for a network."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.pipeline.applying import FittedSteps
from data_prep.pipeline.places import IMAGES
from data_prep.sources.folder import images_below
from data_prep.spec import expanded
from jaxcaps.data.decoding import BadImage, prepare_opencv
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.items import Item
from jaxcaps.data.source import Settings, Source
from jaxcaps.data.sources import SOURCES, parse_data
from jaxcaps.data.sources.folder import prepared_in
from jaxcaps.errors import UserError

# Batches that are decoded ahead of the network.
BATCHES_AHEAD = 2
FLAG = "--images"


def open_pictures(text: str, settings: Settings) -> Source:
    """Opens what `--images` names: a folder, which is searched for images, an image file, or any kind of `--data`.

    Classes and splits do not matter: all pictures are listed.

    Raises:
        UserError: there is no such place, or no image in it.
    """
    path = expanded(text)
    if path.is_dir():
        files = images_below(path)
        if not files:
            raise UserError(f"{FLAG}={text}: no image file in this folder or below it; check the path")
        names = [file.relative_to(path).as_posix() for file in files]
        return ImageFiles([Item(name, None, None, None) for name in names], files, _prepared(path))
    if path.is_file() and path.suffix.lower()[1:] not in SOURCES:
        return _files([path], FLAG)
    if ":" not in text and text not in SOURCES and not path.is_file():
        kinds = ", ".join(f"{name}:{kind.place}" if kind.place else name for name, kind in SOURCES.items())
        raise UserError(f"{FLAG}={text}: no such file or folder; give a folder, an image, or one of {kinds}")
    spec = parse_data(text, FLAG)
    return SOURCES[spec.kind].open(spec, settings._replace(flag=FLAG))


def list_files(paths: Sequence[str | Path]) -> Source:
    """The given image files, in order.

    Raises:
        UserError: one of them does not exist, or some were prepared by `data_prep` and others were not.
    """
    files = [expanded(str(path)) for path in paths]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(f"{missing[0]}: no such image file ({len(missing)} of {len(files)} are missing)")
    return _files(files, "the list of files")


def _files(files: Sequence[Path], where: str) -> Source:
    prepared = [_prepared(folder) for folder in {file.absolute().parent for file in files}]
    if any(steps != prepared[0] for steps in prepared):
        raise UserError(f"{where}: data_prep made some of these pictures, but not all in the same way; give them apart")
    return ImageFiles([Item(str(file), None, None, None) for file in files], files, prepared[0] if prepared else None)


def _prepared(folder: Path) -> FittedSteps | None:
    """The steps that made the pictures of a folder, which may lie deep below the output folder of `data_prep`."""
    folder = folder.absolute()
    # Any folder above may be called `images`, the output folder too.
    places = (folder, *(path for path in folder.parents if path.name == IMAGES))
    return next(filter(None, map(prepared_in, places)), None)


class PictureBatch(NamedTuple):
    """Consecutive pictures of a source.

    Attributes:
        rows: indices of those that could be read.
        images: uint8 [len(rows), ...].
        bad: index and reason of those that could not.
    """

    rows: list[int]
    images: np.ndarray
    bad: list[tuple[int, str]]


def batches(
    read: Callable[[int], np.ndarray], rows: Sequence[int], shape: tuple[int, ...], batch_size: int
) -> Iterator[PictureBatch]:
    """Reads pictures in threads, a few batches ahead, so that memory does not grow with their number.

    Args:
        read: reads one picture, uint8 `shape`. Raises BadImage.
        rows: what to read, in order.
        shape: of each picture.
        batch_size: readable pictures in each batch but the last.
    """
    prepare_opencv()
    waiting: deque[tuple[int, Future[np.ndarray]]] = deque()
    left = iter(rows)
    pool = ThreadPoolExecutor(os.cpu_count())

    def submit() -> None:
        row = next(left, None)
        if row is not None:
            waiting.append((row, pool.submit(read, row)))

    try:
        for _ in range(BATCHES_AHEAD * batch_size):
            submit()
        batch = _empty(shape, batch_size)
        while waiting:
            row, future = waiting.popleft()
            try:
                batch.images[len(batch.rows)] = future.result()
                batch.rows.append(row)
            except BadImage as error:
                batch.bad.append((row, str(error)))
            submit()
            if len(batch.rows) == batch_size:
                yield batch
                batch = _empty(shape, batch_size)
        if batch.rows or batch.bad:
            yield batch._replace(images=batch.images[: len(batch.rows)])
    finally:
        pool.shutdown(cancel_futures=True)


def _empty(shape: tuple[int, ...], batch_size: int) -> PictureBatch:
    return PictureBatch([], np.zeros((batch_size, *shape), np.uint8), [])


def as_bytes(pictures: np.ndarray, channels: int) -> np.ndarray:
    """Checks pictures in an array and converts them to bytes.

    Args:
        pictures: uint8 in 0..255, or floats in [0, 1]: [n, height, width, channels], or one of them; grey pictures
            may lack the last axis if there are several of them or one of the model is grey.
        channels: of the model, 3 or 1.

    Returns:
        uint8 [n, height, width, channels].

    Raises:
        UserError: another type, range or shape.
    """
    if pictures.ndim == 3 and pictures.shape[-1] == channels:
        pictures = pictures[None]
    elif channels == 1 and pictures.ndim in (2, 3):
        pictures = pictures.reshape(-1, *pictures.shape[-2:], 1)
    if pictures.ndim != 4 or pictures.shape[-1] != channels or 0 in pictures.shape[1:]:
        raise UserError(
            f"pictures of shape {list(pictures.shape)}: this model takes {'colour' if channels == 3 else 'grey'} "
            f"pictures, [n, height, width, {channels}] or [height, width, {channels}]"
        )
    if pictures.dtype == np.uint8:
        return pictures
    if not np.issubdtype(pictures.dtype, np.floating):
        raise UserError(f"pictures of type {pictures.dtype}: give uint8 in 0..255 or floats in [0, 1]")
    low, high = (float(pictures.min()), float(pictures.max())) if pictures.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"pictures with values from {low:g} to {high:g}: floats must lie in [0, 1]. Divide values in 0..255 by "
            "255, or convert them to uint8"
        )
    return np.rint(pictures * 255).astype(np.uint8)
