"""Routing by variational Bayes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt
from jax import lax
from jax.scipy.special import digamma
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing._gaussian import weighted_gaussian
from jaxcaps.functional.routing.base import (
    ParameterSpec,
    Routed,
    RoutingShape,
    agreement,
    as_votes,
    check_iterations,
    check_settings,
    check_votes,
    even_couplings,
    in_weights,
)


def variational_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    beta_a: Float[Array, "out"],
    beta_u: Float[Array, "out"],
    iterations: int = 3,
    mixing_prior: float = 1.0,
    mean_prior: float = 1.0,
    scale_prior: float = 1.0,
) -> Routed:
    """Routing by variational Bayes (Ribeiro et al. 2020, algorithm 1), with diagonal precision matrices.

    A mixture of Gaussians as in EM routing, whose mixing coefficients, means and precisions have priors: a Dirichlet
    alpha_0, a normal of mean 0 and weight kappa_0, a Wishart with Psi_0^-1 = scale_prior I and nu_0 = dim + 1 degrees
    of freedom. The priors keep a variance from collapsing onto a single vote. With R'_ij = R_ij a_i, N_j = sum_i R'_ij,
    votes' mean m_j and scatter S_jh = sum_i R'_ij (V_ijh - m_jh)^2:

        alpha_j = alpha_0 + N_j     kappa_j = kappa_0 + N_j     nu_j = nu_0 + N_j     mu_j = N_j m_j / kappa_j
        1 / Psi_jh = scale_prior + S_jh + kappa_0 N_j / kappa_j m_jh^2
        E ln pi_j = digamma(alpha_j) - digamma(sum_j alpha_j)
        E ln |Lambda_j| = sum_h digamma((nu_j - h) / 2) + dim ln 2 + sum_h ln Psi_jh          (h = 0 ... dim - 1)
        ln R_ij = E ln pi_j + (E ln |Lambda_j| - dim ln 2 pi - dim / kappa_j - nu_j sum_h Psi_jh (V_ijh - mu_jh)^2) / 2

    up to a constant of i, and the activation weighs the entropy of the posterior,
    a_j = sigmoid(beta_a_j - beta_u_j - exp(E ln pi_j) (dim ln 2 pi e - E ln |Lambda_j|) / 2). The batch normalisation
    that the authors' code puts on both outputs is left to the network.

    Args:
        votes: computed in at least float32.
        in_activations: in [0, 1]; 1 where not given.
        beta_a, beta_u: learned.
        iterations: number of updates of the posteriors, a Python int of at least 1.
        mixing_prior, mean_prior, scale_prior: alpha_0, kappa_0 and the diagonal of Psi_0^-1, above 0.

    Returns:
        The means mu; activations in (0, 1); couplings R of the last update, whose rows sum to 1. All in the dtype of
        `votes`.

    Raises:
        ValueError: `iterations` is not a Python int of at least 1, or a shape does not fit.
    """
    check_iterations(iterations)
    check_votes(votes, in_activations=(in_activations, "in"), beta_a=(beta_a, "out"), beta_u=(beta_u, "out"))
    wide = at_least_float32(votes)
    dim = wide.shape[2]
    active = in_weights(wide, in_activations)

    def update(couplings: Float[Array, "in out"]) -> tuple[Array, ...]:
        """The posteriors: mean, Psi, kappa, nu, E ln pi, E ln |Lambda|."""
        mean, variance, mass = weighted_gaussian(wide, couplings * active[:, None])
        alpha, kappa, nu = mixing_prior + mass, mean_prior + mass, dim + 1 + mass
        shrunk = (mass / kappa)[:, None] * mean
        inverse = scale_prior + mass[:, None] * variance + (mean_prior * mass / kappa)[:, None] * jnp.square(mean)
        log_pi = digamma(alpha) - digamma(jnp.sum(alpha))
        halves = (nu[:, None] - jnp.arange(dim, dtype=wide.dtype)[None]) / 2
        log_precision = jnp.sum(digamma(halves), axis=1) + dim * np.log(2) - jnp.sum(jnp.log(inverse), axis=1)
        return shrunk, 1 / inverse, kappa, nu, log_pi, log_precision

    def iterate(_: Array, couplings: Float[Array, "in out"]) -> Float[Array, "in out"]:
        mean, psi, kappa, nu, log_pi, log_precision = update(couplings)
        distances = agreement(jnp.square(wide - mean[None]), psi)
        log_density = 0.5 * (log_precision - dim / kappa)[None] - 0.5 * nu[None] * distances
        return jax.nn.softmax(log_pi[None] + log_density, axis=1)

    # The reverse pass computes an iteration anew instead of keeping several arrays as large as the votes.
    couplings = lax.fori_loop(0, iterations - 1, jax.checkpoint(iterate, prevent_cse=False), even_couplings(wide))
    mean, _, _, _, log_pi, log_precision = update(couplings)
    entropy = 0.5 * (dim * np.log(2 * np.pi * np.e) - log_precision)
    logits = beta_a.astype(wide.dtype) - beta_u.astype(wide.dtype) - jnp.exp(log_pi) * entropy
    return as_votes(Routed(mean, jax.nn.sigmoid(logits), couplings), votes)


@dataclass(frozen=True)
class Variational:
    """The description of `variational_routing`. Learned: `beta_a` and `beta_u` [out], from 0."""

    iterations: Annotated[int, Ge(1)] = 3
    mixing_prior: Annotated[float, Gt(0)] = 1.0
    mean_prior: Annotated[float, Gt(0)] = 1.0
    scale_prior: Annotated[float, Gt(0)] = 1.0
    needs: ClassVar[tuple[str, ...]] = ("in_activations",)
    averages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {name: ParameterSpec((shape.out_capsules,)) for name in ("beta_a", "beta_u")}

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        *,
        beta_a: Float[Array, "out"],
        beta_u: Float[Array, "out"],
    ) -> Routed:
        return variational_routing(votes, in_activations, beta_a=beta_a, beta_u=beta_u, **asdict(self))


ROUTING = Variational
