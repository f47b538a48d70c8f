"""A source of image files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.pipeline.applying import FittedSteps
from data_prep.sources.listing import RawFrame
from jaxcaps.data.decoding import BadImage, decode
from jaxcaps.data.items import Item, with_names_in_utf8


class ImageFiles:
    """Items, each with its image file. Names that are not UTF-8 are escaped; the files are opened by their own."""

    def __init__(self, items: Sequence[Item], paths: Sequence[Path], prepared: FittedSteps | None = None):
        self.items = with_names_in_utf8(items)
        self._paths, self.prepared = tuple(paths), prepared
        self.notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, frames: Sequence[RawFrame], prepared: FittedSteps | None = None, notes: tuple[str, ...] = ()
    ) -> "ImageFiles":
        """Makes a source from files that `data_prep` listed."""
        source = cls(
            [Item(frame.name, frame.label, frame.group, frame.split) for frame in frames],
            [frame.path for frame in frames],
            prepared,
        )
        source.notes = notes
        return source

    def read(self, index: int) -> np.ndarray:
        """uint8 RGB [height, width, 3]. Raises BadImage."""
        path = self._paths[index]
        try:
            encoded = path.read_bytes()
        except FileNotFoundError as error:
            raise BadImage("no such file") from error
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error
        return decode(encoded)
