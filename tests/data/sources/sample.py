"""Shared code of the tests of sources. The test file of each source defines a `SAMPLE` for the conformity suite."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxcaps.data.source import Source
from jaxcaps.data.sources import open_source
from jaxcaps.errors import UserError


class Picture(NamedTuple):
    """A picture to write in the format of a source.

    Attributes:
        pixels: as stored, uint8 or uint16, [h, w], [h, w, 3] RGB or [h, w, 4] RGBA; None for a file that is damaged.
        palette: store the pixels as indices of a palette.
    """

    pixels: np.ndarray | None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    palette: bool = False

    def indexed(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns indices uint8 [h, w] and the palette uint8 [256, 3]."""
        found, indices = np.unique(self.pixels.reshape(-1, 3), axis=0, return_inverse=True)
        colours = np.zeros((256, 3), np.uint8)
        colours[: len(found)] = found
        return indices.reshape(self.pixels.shape[:2]).astype(np.uint8), colours

    def encoded(self) -> bytes:
        """As a PNG file."""
        if self.pixels is None:
            return b"damaged"
        if self.palette:
            indices, colours = self.indexed()
            file, image = io.BytesIO(), Image.frombytes("P", indices.shape[::-1], indices.tobytes())
            image.putpalette(colours.tobytes())
            image.save(file, "png")
            return file.getvalue()
        channels = {2: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[self.pixels.shape[2] if self.pixels.ndim == 3 else 2]
        pixels = self.pixels if self.pixels.ndim == 2 else self.pixels[..., channels]
        return cv2.imencode(".png", pixels)[1].tobytes()


@dataclass(frozen=True)
class Sample:
    """Makes data of one kind.

    Attributes:
        write: (an empty folder, pictures) -> what `--data` says. It may ignore what it cannot store.
        stores: which of "grey", "16-bit", "alpha", "palette", "damaged", "unlabelled", "groups", "splits" the kind has.
        exact: the pictures that are read are the pictures that were written.
        slow: writing and opening take seconds.
    """

    write: Callable[[Path, list[Picture]], str]
    stores: frozenset[str] = frozenset()
    exact: bool = True
    slow: bool = False


def open_spec(spec: str, count: int = 60, seed: int = 0, size: int = 16) -> Source:
    return open_source(spec, synthetic_count=count, synthetic_seed=seed, image_size=size)


def refused(spec: str, *words: str) -> None:
    """Checks that opening the data raises a UserError that names the data and contains these words."""
    with pytest.raises(UserError) as error:
        open_spec(spec)
    for word in (f"--data={spec}", *words):
        assert word in str(error.value)


def paint(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((2, 3, 3), value, np.uint8))


def noise(number: int, shape: tuple[int, ...] = (9, 7, 3), dtype: type = np.uint8) -> np.ndarray:
    """Pixels that differ for each number."""
    return np.random.default_rng(number).integers(0, np.iinfo(dtype).max + 1, shape, dtype)
