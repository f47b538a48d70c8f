"""Heinsen's routing: EM with an account of what out capsules use and what they ignore."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing._gaussian import log_density, weighted_gaussian
from jaxcaps.functional.routing.base import (
    ParameterSpec,
    Routed,
    RoutingShape,
    as_votes,
    check_iterations,
    check_settings,
    check_votes,
    even_couplings,
    in_weights,
)

# Of the paper's code, as what is added to every variance.
VARIANCE_OFFSET = 1e-5


def heinsen_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    beta_use: Float[Array, "in out"],
    beta_ignore: Float[Array, "in out"],
    iterations: int = 3,
) -> Routed:
    """Routing capsules in all domains (Heinsen 2019, arXiv 1911.00792, algorithm 1).

    E-step: R_ij = softmax over the out capsules of (log f(a_j) + log p_j(V_ij)), even at first. D-step: of the data
    f(a_i) out capsule j uses D_use = f(a_i) R_ij and ignores D_ignore = f(a_i) - D_use. M-step: its score is
    a_j = sum_i beta_use_ij D_use_ij - sum_i beta_ignore_ij D_ignore_ij, and mean and variance are those of the votes
    weighted by D_use. f is the logistic function.

    Args:
        votes: computed in at least float32.
        in_activations: f(a_i) of the paper, in [0, 1]; 1 where not given.
        beta_use, beta_ignore: learned; the net benefit of using, and the net cost of ignoring, each in capsule's data.
        iterations: number of M-steps, a Python int of at least 1.

    Returns:
        The means; activations f(a_j) in (0, 1); couplings R of the last M-step, whose rows sum to 1. All in the
        dtype of `votes`.

    Raises:
        ValueError: `iterations` is not a Python int of at least 1, or a shape does not fit.
    """
    check_iterations(iterations)
    check_votes(
        votes,
        in_activations=(in_activations, "in"),
        beta_use=(beta_use, "in out"),
        beta_ignore=(beta_ignore, "in out"),
    )
    wide = at_least_float32(votes)
    use, ignore = (beta.astype(wide.dtype) for beta in (beta_use, beta_ignore))
    data = in_weights(wide, in_activations)[:, None]

    def maximise(couplings: Float[Array, "in out"]) -> tuple[Array, Array, Array]:
        used = data * couplings
        scores = jnp.sum(use * used - ignore * (data - used), axis=0)
        mean, variance, _ = weighted_gaussian(wide, used)
        return scores, mean, variance + VARIANCE_OFFSET

    def iterate(_: Array, couplings: Float[Array, "in out"]) -> Float[Array, "in out"]:
        scores, mean, variance = maximise(couplings)
        return jax.nn.softmax(jax.nn.log_sigmoid(scores)[None] + log_density(wide, mean, variance), axis=1)

    # The reverse pass computes an iteration anew instead of keeping several arrays as large as the votes.
    couplings = lax.fori_loop(0, iterations - 1, jax.checkpoint(iterate, prevent_cse=False), even_couplings(wide))
    scores, mean, _ = maximise(couplings)
    return as_votes(Routed(mean, jax.nn.sigmoid(scores), couplings), votes)


@dataclass(frozen=True)
class Heinsen:
    """The description of `heinsen_routing`. Learned: `beta_use` and `beta_ignore` [in, out], from 0."""

    iterations: Annotated[int, Ge(1)] = 3
    needs: ClassVar[tuple[str, ...]] = ("in_activations",)
    averages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        matrix = (shape.in_capsules, shape.out_capsules)
        return {"beta_use": ParameterSpec(matrix), "beta_ignore": ParameterSpec(matrix)}

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        *,
        beta_use: Float[Array, "in out"],
        beta_ignore: Float[Array, "in out"],
    ) -> Routed:
        return heinsen_routing(
            votes, in_activations, beta_use=beta_use, beta_ignore=beta_ignore, iterations=self.iterations
        )


ROUTING = Heinsen
