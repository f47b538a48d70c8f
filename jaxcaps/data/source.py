"""What a kind of data declares, and what an opened source offers: items, and the picture of each on demand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from data_prep.spec import DataSpec
from jaxcaps.data.items import Item


class Source(Protocol):
    """Random access to pictures. `read` is called from several threads at once.

    Attributes:
        fitted: preparation steps that were fitted on the training split that the data names. Their pictures must not
            be dealt to other splits, else test pictures would have shaped the training.
        notes: sentences for the log, such as what was skipped.
    """

    fitted: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def items(self) -> Sequence[Item]: ...

    def read(self, index: int) -> np.ndarray:
        """The picture of `items[index]`: uint8 RGB [height, width, 3] of any size.

        Raises:
            BadImage: it cannot be read.
        """
        ...


class Settings(NamedTuple):
    """What a source may need to know beside its place.

    Attributes:
        image_size: the side in pixels of the square that pictures are resized to.
        synthetic_count, synthetic_seed: size and seed of the built-in set.
    """

    image_size: int
    synthetic_count: int
    synthetic_seed: int


@dataclass(frozen=True)
class SourceKind:
    """One kind of data. A module of `jaxcaps.data.sources` defines it as `SOURCE`; the module's name is the kind.

    Attributes:
        about: one line for `--help`.
        open: opens a source without decoding a picture. It raises UserError for whatever is wrong with the data.
        place: what follows the kind in `--data`: "DIR", "FILE", "NAME" (perhaps with `@DIR`), or "" for nothing.
    """

    about: str
    open: Callable[[DataSpec, Settings], Source]
    place: str = ""
