"""What all routing algorithms share: their result, and the description of one that a layer takes.

A routing algorithm is a pure function of the votes of one example. A layer takes a *description* of it: a frozen
dataclass that holds the settings, says which learned parameters the algorithm needs, and calls the function with them.
The layer owns the parameters.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import lax
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


class RoutingShape(NamedTuple):
    """What a layer tells a routing description about itself."""

    in_capsules: int
    out_capsules: int
    in_dim: int
    out_dim: int


class ParameterSpec(NamedTuple):
    """A learned parameter of a routing algorithm.

    Attributes:
        shape: its shape.
        initial: a constant, or an initialiser such as those of `jax.nn.initializers`.
    """

    shape: tuple[int, ...]
    initial: float | Initializer = 0.0


@runtime_checkable
class Routing(Protocol):
    """A routing description, as layers take it; see `EM` for an example.

    An algorithm without learned parameters needs no description: layers take its function.

    Attributes:
        needs: which of "in_activations" and "in_poses" [in, in_dim] the routing requires. The activations are the
            second argument, the poses a keyword argument.
        averages: optional; True if out poses have the scale of one vote, not of the sum of all (see
            `initial_deviation`).
        initial_norm: optional; a method that gives, for a `RoutingShape`, the norm that sums of votes should have at
            the start; 1 where there is none.
    """

    needs: ClassVar[tuple[str, ...]]

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        """The learned parameters by name."""

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        /,
        *_: Any,
        **parameters: Any,
    ) -> Routed:
        """Routes the votes of one example, with the parameters it asked for as keyword arguments."""


def check_votes(votes: Array, **others: tuple[Array | None, str]) -> None:
    """Refuses votes that are not [in, out, dim], and further arguments that do not fit them.

    Args:
        votes: of one example.
        others: an argument that may be None, and its axes, such as "in out"; `in_dim` may have any length.

    Raises:
        ValueError: a wrong number of axes, a wrong length, or numbers that are not real floating-point ones.
    """
    if votes.ndim != 3:
        raise ValueError(
            f"votes: shape [in, out, dim] of one example expected, found {list(votes.shape)}; map over a batch with "
            "over_batch or jax.vmap"
        )
    lengths: dict[str, int | None] = dict(zip(("in", "out", "dim"), votes.shape, strict=True)) | {"in_dim": None}
    for name, (value, axes) in {"votes": (votes, "in out dim"), **others}.items():
        if value is None:
            continue
        wanted = [lengths[axis] for axis in axes.split()]
        fits = len(wanted) == value.ndim and all(
            length in (None, found) for length, found in zip(wanted, value.shape, strict=True)
        )
        if not fits:
            sizes = zip(axes.split(), wanted, strict=True)
            expected = ", ".join(axis if length is None else str(length) for axis, length in sizes)
            raise ValueError(
                f"{name}: shape [{expected}] expected ({axes}) for votes of shape {list(votes.shape)}, "
                f"found {list(value.shape)}"
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"{name}: a floating-point array expected, found {value.dtype}")


def in_weights(votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None) -> Float[Array, "in"]:
    """The activations of the in capsules in the dtype of the (widened) votes; 1 where there are none."""
    if in_activations is None:
        return jnp.ones(votes.shape[0], votes.dtype)
    return in_activations.astype(votes.dtype)


def even_couplings(votes: Float[Array, "in out dim"]) -> Float[Array, "in out"]:
    """1 / out: the couplings before anything is known about the out capsules."""
    # Like the votes, so that it varies over a mesh as they do inside `jax.shard_map`.
    return jnp.full_like(votes[:, :, 0], 1 / votes.shape[1])


def as_votes(routed: Routed, votes: Array) -> Routed:
    """The result in the dtype of the votes that came in."""
    return Routed(*(each.astype(votes.dtype) for each in routed))


# Products with votes are bound by memory, not arithmetic; the default would let an accelerator round their inputs. As
# sums they would be several times slower on a CPU, where XLA is slow at sums over a leading axis.
PRECISION = lax.Precision.HIGHEST


def agreement(votes: Float[Array, "in out dim"], poses: Float[Array, "out dim"]) -> Float[Array, "in out"]:
    """The inner product of each vote with its out capsule's pose."""
    return jnp.einsum("ijd,jd->ij", votes, poses, precision=PRECISION)


def gather(shares: Float[Array, "in out"], votes: Float[Array, "in out dim"]) -> Float[Array, "out dim"]:
    """The sum of the votes for each out capsule, weighted by the in capsules' shares."""
    return jnp.einsum("ij,ijd->jd", shares, votes, precision=PRECISION)


def check_iterations(iterations: int) -> None:
    """Refuses a number of routing iterations that is not a Python int of at least 1.

    The number must be static: a loop of traced length has no reverse-mode gradient.

    Raises:
        ValueError: where it is anything else.
    """
    if type(iterations) is not int or iterations < 1:
        raise ValueError(f"iterations must be a Python int of at least 1, not {iterations!r}")


def check_settings(description: Any) -> None:
    """Checks a description's settings: `iterations` as `check_iterations`, any other that is not None to be positive.

    Raises:
        ValueError: names the setting and its value.
    """
    for field in fields(description):
        value = getattr(description, field.name)
        if field.name == "iterations":
            check_iterations(value)
        elif value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{field.name} must be a finite number above 0, not {value!r}")


def coupling_entropy(couplings: Float[Array, "in out"]) -> Float[Array, ""]:
    """How undecided a routing is: 1 where every in capsule spreads evenly, 0 where each has chosen one out capsule.

    The entropy over the out capsules divided by its maximum log(out), averaged over the in capsules. A single out
    capsule leaves no choice: its couplings are uniform, and the value is 1.

    Args:
        couplings: [in, out], non-negative, each row sums to 1. Of couplings with a prior added, as self-attention's,
            it says something only as long as the prior is small.

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
