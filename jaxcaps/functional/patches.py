"""The receptive fields of convolutional capsules: extraction, combination onto a map, competition."""

from collections.abc import Callable, Sequence
from functools import reduce
from numbers import Integral
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# One number for both axes, or the same number twice.
Size = int | Sequence[int]
Padding = Size | Literal["SAME", "VALID"]


class Window(NamedTuple):
    """The square receptive fields of a layer, in places of its map."""

    kernel: int
    stride: int
    padding: int


# Arguments that a layer passes on are not annotated, so that errors read the same with and without a type checker.
def window(kernel: Any, stride: Any = 1, padding: Any = 0) -> Window:
    """The receptive fields of a layer, from what other libraries accept too: pairs such as (3, 3), "SAME", "VALID".

    Args:
        kernel, stride: a `Size` of at least 1.
        padding: a `Padding` of each side; a negative one crops. "VALID" is 0. "SAME" keeps the size of the map, and
            needs an odd kernel and stride 1.

    Raises:
        ValueError: names the argument that is not square, not an integer, or out of range.
    """
    kernel, stride = _side("kernel", kernel, 1), _side("stride", stride, 1)
    if isinstance(padding, str):
        if padding == "SAME" and (stride > 1 or kernel % 2 == 0):
            raise ValueError(
                f"padding='SAME' with kernel={kernel} and stride={stride} pads two sides unequally; give an integer"
            )
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding={padding!r}: give an integer, 'SAME' or 'VALID'")
        padding = kernel // 2 if padding == "SAME" else 0
    return Window(kernel, stride, _side("padding", padding))


def _side(name: str, size: Any, least: int | None = None) -> int:
    sides = [size, size] if isinstance(size, Integral) else list(size) if isinstance(size, Sequence) else []
    if len(sides) != 2 or sides[0] != sides[1] or not all(isinstance(side, Integral) for side in sides):
        raise ValueError(f"{name}={size!r}: capsule layers have square windows; give one integer")
    if least is not None and sides[0] < least:
        raise ValueError(f"{name}={size!r}: give an integer of at least {least}")
    return int(sides[0])


def extract_patches(
    x: Float[Array, "height width *rest"], *, kernel: int, stride: int = 1, padding: int = 0
) -> Float[Array, "rows columns kernel kernel *rest"]:
    """What each output position of a convolution sees.

    Args:
        x: a map with any further axes; the padding is zeros.
        kernel, stride, padding: of the convolution.

    Raises:
        ValueError: the map is smaller than the kernel, or a number is out of range.
    """
    rows, columns = patch_counts(x.shape[:2], kernel=kernel, stride=stride, padding=padding)
    padded = jnp.pad(x, [(padding, padding)] * 2 + [(0, 0)] * (x.ndim - 2))
    # Slices, as gathering by an index is slow on a CPU, and its reverse, scattering, slower.
    taps = [
        padded[i:, j:][: rows * stride : stride, : columns * stride : stride] for i, j in np.ndindex(kernel, kernel)
    ]
    return jnp.stack(taps, axis=2).reshape(rows, columns, kernel, kernel, *x.shape[2:])


def patch_counts(sides: tuple[int, ...], *, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """How many positions a convolution's output has, in rows and columns; errors as `extract_patches`."""
    if kernel < 1 or stride < 1 or padding < 0:
        raise ValueError(
            f"kernel and stride must be at least 1 and padding at least 0, not {kernel}, {stride} and {padding}"
        )
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in sides)
    if rows < 1 or columns < 1:
        raise ValueError(f"kernel={kernel} does not fit into a map of {sides[0]}x{sides[1]} padded by {padding}")
    return rows, columns


def combine_onto_map(
    patches: Float[Array, "rows columns kernel kernel *rest"],
    stride: int,
    start: float,
    combine: Callable[[Array, Array], Array],
) -> Float[Array, "height width *rest"]:
    """Combines the values that all patches hold for each place of the (padded) map.

    Args:
        patches: see `extract_patches`; the map ends where a whole number of strides does.
        stride: between the patches.
        start, combine: the value of a place that no patch holds, and how values are combined, such as 0 and `jnp.add`.
    """
    kernel = patches.shape[2]

    def spread(tap: tuple[int, ...]) -> Array:
        """The values of one tap, at its places of the map."""
        edges = [(before, kernel - 1 - before, stride - 1) for before in tap]
        return lax.pad(patches[:, :, *tap], jnp.asarray(start, patches.dtype), edges + [(0, 0, 0)] * (patches.ndim - 4))

    return reduce(combine, map(spread, np.ndindex(kernel, kernel)))


def compete_across(
    logits: Float[Array, "rows columns kernel kernel in out"], *, stride: int
) -> Float[Array, "rows columns kernel kernel in out"]:
    """A softmax over all parents of each in capsule: every out type at every position whose patch holds it.

    The places of a patch count from the corner of the padded map, so a padding belongs to them too.

    Args:
        logits: of each in capsule of a patch for each out type at the patch's position.
        stride: between the patches.

    Returns:
        Couplings; those of one in capsule sum to 1 over all its patches and out types.
    """
    kernel = logits.shape[2]

    def back(of_map: Array) -> Array:
        return extract_patches(of_map, kernel=kernel, stride=stride)

    # Subtracting the largest logit changes no result, so it needs no gradient.
    top = back(combine_onto_map(lax.stop_gradient(jnp.max(logits, axis=5)), stride, -jnp.inf, jnp.maximum))
    shares = jnp.exp(logits - top[..., None])
    total = back(combine_onto_map(jnp.sum(shares, axis=5), stride, 0.0, jnp.add))
    return shares / total[..., None]
