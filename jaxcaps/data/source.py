"""The interface of data sources: the declaration of a kind of data, and access to items and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from data_prep.pipeline.applying import FittedSteps
from data_prep.spec import DataSpec
from jaxcaps.data.items import Item


class Source(Protocol):
    """Random access to pictures. `read` is called from several threads at once.

    Attributes:
        prepared: the steps with which `data_prep` made the pictures; None if it did not. If a step was fitted on the
            data's own training split, pictures must not be assigned to other splits: test pictures would influence
            training.
        notes: sentences for the log, such as what was skipped.
    """

    prepared: FittedSteps | None
    notes: tuple[str, ...]

    @property
    def items(self) -> Sequence[Item]: ...

    def read(self, index: int) -> np.ndarray:
        """Reads the picture of `items[index]`: uint8 RGB [height, width, 3] of any size.

        Raises:
            BadImage: the picture cannot be read.
        """
        ...


class Settings(NamedTuple):
    """Settings that a source may need besides its place.

    Attributes:
        image_size: side in pixels of the square that pictures are resized to.
        synthetic_count, synthetic_seed: size and seed of the built-in set.
        flag: where the user named the source, for errors.
    """

    image_size: int
    synthetic_count: int
    synthetic_seed: int
    flag: str = "--data"


@dataclass(frozen=True)
class SourceKind:
    """A kind of data. Each module of `jaxcaps.data.sources` defines one as `SOURCE`; the module's name is the kind.

    Attributes:
        about: one line for `--help`.
        open: opens a source without decoding a picture. It raises UserError if the data is invalid.
        place: the rest of `--data` after the kind: "DIR", "FILE", "NAME" (optionally with `@DIR`), or "" if none.
    """

    about: str
    open: Callable[[DataSpec, Settings], Source]
    place: str = ""
