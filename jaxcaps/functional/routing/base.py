"""What all routing algorithms share: their result, and the description of one that a layer takes.

A routing algorithm is a pure function of the votes of one example. A layer takes a *description* of it: a frozen
dataclass that holds its settings, says which learned parameters it needs, and calls the function with them. The layer
owns the parameters.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32


class Routed(NamedTuple):
    """The result of routing one example (a layer adds a leading batch axis to each).

    Attributes:
        poses: poses of the out capsules [out, dim].
        activations: activations of the out capsules [out]; meaning and range are each algorithm's.
        couplings: share of each in capsule given to each out capsule [in, out], of the last iteration.
    """

    poses: Array
    activations: Array
    couplings: Array


class ParameterSpec(NamedTuple):
    """A learned parameter of a routing algorithm.

    Attributes:
        shape: its shape.
        initial: a constant, or an initialiser such as those of `jax.nn.initializers`.
    """

    shape: tuple[int, ...]
    initial: float | Initializer


@runtime_checkable
class Routing(Protocol):
    """A routing description, as layers take it; see `Dynamic` for one, and write your own alike."""

    def parameters(self, in_capsules: int, out_capsules: int, dim: int) -> Mapping[str, ParameterSpec]:
        """The learned parameters by name, for so many capsules and votes of so many dimensions."""

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        /,
        *_: Any,
        **parameters: Any,
    ) -> Routed:
        """Routes the votes of one example, with the parameters it asked for as keyword arguments."""


def check_iterations(iterations: int) -> None:
    """Refuses a number of routing iterations that is not a Python int of at least 1.

    The number must be static: a loop of traced length has no reverse-mode gradient.

    Raises:
        ValueError: where it is anything else.
    """
    if type(iterations) is not int or iterations < 1:
        raise ValueError(f"iterations must be a Python int of at least 1, not {iterations!r}")


def coupling_entropy(couplings: Float[Array, "in out"]) -> Float[Array, ""]:
    """How undecided a routing is: 1 where every in capsule spreads evenly, 0 where each has chosen one out capsule.

    The entropy over the out capsules divided by its maximum log(out), averaged over the in capsules. A single out
    capsule leaves no choice: its couplings are uniform, and the value is 1.

    Args:
        couplings: [in, out], non-negative, each row sums to 1.

    Returns:
        A scalar in [0, 1], at least float32, with a finite gradient even where a coupling is 0.
    """
    wide = at_least_float32(couplings)
    out_capsules = wide.shape[1]
    if out_capsules == 1:
        return jnp.ones((), wide.dtype)
    entropies = -jnp.sum(wide * jnp.log(jnp.where(wide > 0, wide, 1)), axis=1)
    # Rounded rows (bfloat16) do not sum to 1 exactly, and would lead out of the range.
    return jnp.clip(jnp.mean(entropies) / jnp.log(out_capsules), 0, 1)
