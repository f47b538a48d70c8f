"""What a layout is, and how one is recognised by the names and the shapes of parameters."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxcaps.errors import UserError, nearest

Arrays = Mapping[str, np.ndarray]
# Axes of a decoder's layers: from the poses of all classes, or of one, to the picture.
DECODER = ("first code", "first", "second first", "second", "pixels second", "pixels")
# How many names an error lists.
LISTED = 4


class Weights(NamedTuple):
    """The parameters of a network in PyTorch's order of axes and pixels, and how its capsules are read and routed.

    Attributes:
        convolution: weight [width, channels, kernel, kernel] and bias.
        primary: weight [types * dim, width, kernel, kernel] and bias.
        transforms: [in capsules, classes, class dim, dim].
        decoder: weight [out, in] and bias of each layer; empty without a decoder.
        planar: whether a primary capsule is `dim` consecutive numbers of the flattened map [channels, rows, columns],
            which mixes places; otherwise it is `dim` consecutive channels of one place, and the in capsules are ordered
            by type, row, column.
        routing: "dynamic", as in the paper; "over-inputs", with a softmax over the in capsules in place of the classes;
            or "elementwise-over-inputs", which also squashes each number of a class capsule's pose by itself.
    """

    convolution: tuple[np.ndarray, np.ndarray]
    primary: tuple[np.ndarray, np.ndarray]
    transforms: np.ndarray
    decoder: tuple[tuple[np.ndarray, np.ndarray], ...]
    planar: bool
    routing: str


@dataclass(frozen=True)
class Layout:
    """How one PyTorch network names and arranges its parameters.

    Attributes:
        source: where that network is published.
        shapes: the axes of each parameter; equal names stand for equal lengths, and numbers for themselves. A `#` in a
            parameter's name stands for 0, 1 and so on.
        decoder: name of the decoder's first layer without its number, such as "decoder."; the layers are 0, 2 and 4.
        weights: arranges the parameters.
    """

    source: str
    shapes: Mapping[str, str]
    decoder: str
    weights: Callable[[Arrays], Weights]

    def expected(self, names: Iterable[str]) -> dict[str, str]:
        """The axes of the parameters that a network of these names should have."""
        names = set(names)
        found: dict[str, str] = {}
        for name, axes in self.shapes.items():
            count = sum(name.replace("#", str(index)) in names for index in range(len(names)))
            found |= {name.replace("#", str(index)): axes for index in range(max(count, 1) if "#" in name else 1)}
        if any(name.startswith(self.decoder) for name in names):
            layers = [f"{self.decoder}{layer}.{kind}" for layer in (0, 2, 4) for kind in ("weight", "bias")]
            found |= dict(zip(layers, DECODER, strict=True))
        return found

    def check(self, arrays: Arrays) -> None:
        """
        Raises:
            UserError: the length of an axis contradicts another parameter.
        """
        lengths: dict[str, tuple[int, str]] = {}
        for name, axes in self.expected(arrays).items():
            found = arrays[name].shape
            sizes = [int(axis) if axis.isdigit() else lengths.get(axis, (None, ""))[0] for axis in axes.split()]
            wrong = len(found) != len(sizes)
            for axis, length, size in zip(axes.split(), found, sizes, strict=False):
                wrong = wrong or size not in (None, length)
                lengths.setdefault(axis, (length, name))
            if wrong:
                known = zip(axes.split(), sizes, strict=True)
                wanted = ", ".join(axis if size is None else str(size) for axis, size in known)
                raise UserError(
                    f"{name}: shape [{wanted}] expected ({axes}), found {list(found)}; a network of {self.source} with "
                    "other sizes should agree in all its parameters"
                )

    def layers(self, arrays: Arrays) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """The weights and biases of the decoder; empty without one."""
        names = [f"{self.decoder}{layer}" for layer in (0, 2, 4)]
        return tuple((arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names if f"{name}.weight" in arrays)


def numbered(arrays: Arrays, pattern: str) -> list[np.ndarray]:
    """The parameters whose names have 0, 1 and so on in place of the `#`, in this order."""
    names = (pattern.replace("#", str(index)) for index in range(len(arrays)))
    return [arrays[name] for name in names if name in arrays]


def recognise(arrays: Arrays, layouts: Mapping[str, Layout]) -> str:
    """The name of the layout that has parameters of exactly these names.

    Raises:
        UserError: there is none; the message says what the nearest one lacks and does not know.
    """
    expected = {name: set(layout.expected(arrays)) for name, layout in layouts.items()}
    for name, names in expected.items():
        if names == set(arrays):
            return name
    name = max(expected, key=lambda name: len(expected[name] & set(arrays)))
    missing, unknown = sorted(expected[name] - set(arrays)), sorted(set(arrays) - expected[name])
    parts = [f"lacks {_listed(missing)}"] if missing else []
    if unknown:
        parts.append(f"does not know {_listed(unknown)}" + (nearest(unknown[0], missing) if missing else ""))
    raise UserError(
        f"these are not the parameters of a known network ({', '.join(layouts)}). The nearest is {name} "
        f"({layouts[name].source}): it " + "; it ".join(parts)
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
