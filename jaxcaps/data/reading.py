"""Decodes many images in threads and lists those that cannot be read."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from data_prep.images.duplicates import HASH_BITS, difference_hash
from data_prep.images.reading import DARK
from jaxcaps.data.decoding import BadImage, prepare_opencv, to_square
from jaxcaps.data.source import Source


@dataclass(frozen=True, eq=False)
class Pictures:
    """Decoded pictures.

    Attributes:
        rows: int [n], indices of the items that could be read, in order.
        images: uint8 [n, size, size, channels], or None if not kept.
        hashes: bool [n, 256], difference hashes, or None if not requested.
        contents: bytes [n], see `content`.
    """

    rows: np.ndarray
    images: np.ndarray | None
    hashes: np.ndarray | None
    contents: np.ndarray

    def part(self, rows: np.ndarray) -> "Pictures":
        """Selects the pictures of some of the rows."""
        places = np.searchsorted(self.rows, rows)
        return Pictures(rows, None if self.images is None else self.images[places], None, self.contents[places])


def content(picture: np.ndarray) -> str:
    """Returns what a picture is known by wherever it lies: 16 hexadecimal digits of the SHA-256 of its pixels.

    Args:
        picture: uint8 [height, width, 3], as decoded, before it is resized.
    """
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()[:16]


class Reader:
    """Reads items of a source and keeps the pictures if there is enough memory.

    Attributes:
        count: number of items read so far, readable or not.
        bad: name and reason of each item that could not be read.
        dark: names of the items whose values are all below `DARK`.

    Args:
        source: the source of the items.
        size: side of the square that pictures are resized to.
        channels: channels of the pictures, 3 or 1.
        cache_bytes: largest total size of the pictures kept.
    """

    def __init__(self, source: Source, size: int, channels: int, cache_bytes: int):
        self._source, self._size, self._channels = source, size, channels
        self._room = cache_bytes // (channels * size**2)
        self.count = 0
        self.bad: tuple[tuple[str, str], ...] = ()
        self.dark: tuple[str, ...] = ()

    def read(self, rows: np.ndarray, *, hashes: bool = False) -> Pictures:
        """Reads each of the given items once. If they do not all fit in memory, none is kept.

        Args:
            rows: int [n] indices of items.
            hashes: whether to hash the pictures. Hashes use RGB at the original size, so they do not depend on the size
                and channels that are kept.
        """
        prepare_opencv()
        size, channels = self._size, self._channels
        keep = len(rows) <= self._room
        images = np.zeros((len(rows), size, size, channels), np.uint8) if keep else None
        bits = np.zeros((len(rows), HASH_BITS), bool) if hashes else None
        contents = np.zeros(len(rows), "S16")
        dark = np.zeros(len(rows), bool)

        def read(place: int) -> str | None:
            try:
                picture = self._source.read(int(rows[place]))
            except BadImage as error:
                return str(error)
            contents[place] = content(picture).encode()
            dark[place] = picture.max() < DARK
            if images is not None:
                images[place] = to_square(picture, size, channels)
            if bits is not None:
                bits[place] = difference_hash(picture)
            return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            reasons = list(pool.map(read, range(len(rows))))
        names = [self._source.items[row].name for row in rows]
        self.bad += tuple((name, why) for name, why in zip(names, reasons, strict=True) if why is not None)
        self.dark += tuple(names[place] for place in np.flatnonzero(dark))
        self.count += len(rows)
        good = np.array([why is None for why in reasons], bool)
        if keep:
            self._room -= len(rows)
        if good.all():
            return Pictures(rows, images, bits, contents)
        images, bits = (None if array is None else array[good] for array in (images, bits))
        return Pictures(rows[good], images, bits, contents[good])
