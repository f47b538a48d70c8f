"""Routing by expectation-maximisation."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.cpu.em import EMSettings, fused_em_patches
from jaxcaps.functional.patches import compete_across
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
    in_weights,
)
from jaxcaps.functional.votes import Transform

# Hinton et al. 2018 leave the schedule of the inverse temperature open; this is that of their authors' code.
INVERSE_TEMPERATURE = 0.01
# Chosen: a thousandth of the votes' variance where poses are near unit scale, far above float32's rounding.
VARIANCE_FLOOR = 1e-3


class _Parents(NamedTuple):
    mean: Array  # [positions, out, dim]
    variance: Array  # [positions, out, dim], floored
    activation_logit: Array  # [positions, out]


def _maximise(
    votes: Float[Array, "positions in out dim"],
    shares: Float[Array, "positions in out"],
    beta_a: Float[Array, "out"],
    beta_u: Float[Array, "out"],
    inverse_temperature: Float[Array, ""],
    settings: EMSettings,
) -> _Parents:
    """The M-step: the Gaussian of the votes an out capsule got a share of, and its activation's logit."""
    mean, variance, mass = jax.vmap(weighted_gaussian)(votes, shares)
    variance = jnp.maximum(variance, settings.variance_floor)
    entropies = 0.5 * jnp.sum(jnp.log(variance), axis=2)
    cost = (votes.shape[3] * beta_u[None] + entropies) * mass * settings.cost_scale
    return _Parents(mean, variance, inverse_temperature * (beta_a[None] - cost))


def _expect(votes: Float[Array, "positions in out dim"], parents: _Parents) -> Float[Array, "positions in out"]:
    """The E-step before its normalisation: log (a_j p_ij)."""
    densities = jax.vmap(log_density)(votes, parents.mean, parents.variance)
    return jax.nn.log_sigmoid(parents.activation_logit)[:, None] + densities


def _route(
    votes: Float[Array, "positions in out dim"],
    active: Float[Array, "positions in"],
    beta_a: Float[Array, "out"],
    beta_u: Float[Array, "out"],
    compete: Callable[[Array], Array],
    settings: EMSettings,
) -> tuple[_Parents, Float[Array, "positions in out"]]:
    """M-steps with E-steps between them; none after the last."""
    beta_a, beta_u = beta_a.astype(votes.dtype), beta_u.astype(votes.dtype)

    def parents_of(couplings: Array, iteration: Array | int) -> _Parents:
        grown = 1 - 0.95 ** (jnp.asarray(iteration, votes.dtype) + 1)
        shares = couplings * active[:, :, None]
        return _maximise(votes, shares, beta_a, beta_u, settings.inverse_temperature * grown, settings)

    def iterate(iteration: Array, couplings: Array) -> Array:
        return compete(_expect(votes, parents_of(couplings, iteration)))

    even = compete(jnp.zeros_like(votes[..., 0]))
    # The reverse pass computes an iteration anew instead of keeping several arrays as large as the votes.
    couplings = lax.fori_loop(0, settings.iterations - 1, jax.checkpoint(iterate, prevent_cse=False), even)
    return parents_of(couplings, settings.iterations - 1), couplings


def em_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    beta_a: Float[Array, "out"],
    beta_u: Float[Array, "out"],
    iterations: int = 3,
    inverse_temperature: float = INVERSE_TEMPERATURE,
    variance_floor: float = VARIANCE_FLOOR,
    cost_scale: float = 1.0,
) -> Routed:
    """Routing by expectation-maximisation (Hinton et al. 2018, procedure 1).

    Every out capsule is a Gaussian with diagonal covariance. M-step, with shares R'_ij = R_ij a_i and mass
    S_j = sum_i R'_ij: mean and variance of the votes, cost_jh = (beta_u_j + log sigma_jh) S_j, and
    a_j = sigmoid(lambda (beta_a_j - sum_h cost_jh)). E-step: over the out capsules j, R_ij is proportional to
    a_j p_j(V_ij). In iteration t = 0, 1, ... lambda = inverse_temperature (1 - 0.95^(t + 1)). All in the log domain,
    with variances instead of deviations.

    Args:
        votes: computed in at least float32.
        in_activations: in [0, 1]; 1 where not given.
        beta_a, beta_u: learned; what an active out capsule saves, and the constant cost of describing a vote.
        iterations: number of M-steps, a Python int of at least 1.
        inverse_temperature: what lambda grows towards.
        variance_floor: least variance, in squared units of a pose.
        cost_scale: factor on the cost. A class layer gathers the mass of all its positions, which saturates the
            sigmoid; give it about the quotient of a hidden layer's in capsules per out capsule and its own.

    Returns:
        The means; activations in (0, 1); couplings R of the last M-step (before the product with a_i), whose rows sum
        to 1. All in the dtype of `votes`. Where all in activations are 0 the means are 0.

    Raises:
        ValueError: `iterations` is not a Python int of at least 1, or a shape does not fit.
    """
    check_iterations(iterations)
    check_votes(votes, in_activations=(in_activations, "in"), beta_a=(beta_a, "out"), beta_u=(beta_u, "out"))
    wide = at_least_float32(votes)[None]
    active = in_weights(wide[0], in_activations)[None]
    settings = EMSettings(iterations, inverse_temperature, variance_floor, cost_scale)
    parents, couplings = _route(wide, active, beta_a, beta_u, partial(jax.nn.softmax, axis=2), settings)
    routed = Routed(parents.mean[0], jax.nn.sigmoid(parents.activation_logit[0]), couplings[0])
    return as_votes(routed, votes)


def _check_patches(votes: Array, **others: Array) -> None:
    """As `check_votes`, for the votes of patches."""
    if votes.ndim != 7 or votes.shape[2] != votes.shape[3]:
        raise ValueError(
            f"votes: shape [rows, columns, kernel, kernel, in, out, dim] expected, found {list(votes.shape)}"
        )
    for name, value in {"votes": votes, **others}.items():
        shape = {"votes": votes.shape, "in_activations": votes.shape[:5]}.get(name, votes.shape[5:6])
        if value.shape != shape:
            raise ValueError(
                f"{name}: shape {list(shape)} expected for votes of shape {list(votes.shape)}, "
                f"found {list(value.shape)}"
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"{name}: a floating-point array expected, found {value.dtype}")


def em_patch_routing(
    votes: Float[Array, "rows columns kernel kernel in out dim"],
    in_activations: Float[Array, "rows columns kernel kernel in"],
    *,
    beta_a: Float[Array, "out"],
    beta_u: Float[Array, "out"],
    stride: int,
    iterations: int = 3,
    inverse_temperature: float = INVERSE_TEMPERATURE,
    variance_floor: float = VARIANCE_FLOOR,
    cost_scale: float = 1.0,
) -> Routed:
    """EM routing of a convolutional layer, where the parents of a child compete across positions too.

    Hinton et al. 2018, section 3.1: a child's couplings are normalised over all the parents whose receptive fields hold
    it. Votes are kept per patch, not in an [in, out] array that would be mostly empty.

    Args:
        votes: of each in type at each place of each patch, for each out type at the patch's position.
        in_activations: of the same; patches of a map, see `extract_patches`. 0 in the padding.
        stride: between the patches.
        others: as `em_routing`.

    Returns:
        Poses [rows, columns, out, dim], activations [rows, columns, out] and couplings [rows, columns, kernel, kernel,
        in, out], which sum to 1 over all the parents of a child.

    Raises:
        ValueError: `iterations` is not a Python int of at least 1, or a shape does not fit.
    """
    check_iterations(iterations)
    _check_patches(votes, in_activations=in_activations, beta_a=beta_a, beta_u=beta_u)
    rows, columns, kernel, _, in_types, out, dim = votes.shape
    patch = (rows, columns, kernel, kernel, in_types)
    positions = (rows * columns, kernel * kernel * in_types)

    def compete(logits: Array) -> Array:
        return compete_across(logits.reshape(*patch, out), stride=stride).reshape(logits.shape)

    wide = at_least_float32(votes).reshape(*positions, out, dim)
    active = in_activations.astype(wide.dtype).reshape(positions)
    settings = EMSettings(iterations, inverse_temperature, variance_floor, cost_scale)
    parents, couplings = _route(wide, active, beta_a, beta_u, compete, settings)
    routed = Routed(
        parents.mean.reshape(rows, columns, out, dim),
        jax.nn.sigmoid(parents.activation_logit).reshape(rows, columns, out),
        couplings.reshape(*patch, out),
    )
    return as_votes(routed, votes)


# In capsules per out capsule in the paper's hidden layers (3x3 places of 16 types for 16 types).
HIDDEN_IN_PER_OUT = 9


@dataclass(frozen=True)
class EM:
    """The description of `em_routing`, and of `em_patch_routing` in convolutional layers.

    Learned: `beta_a` and `beta_u` [out], from 0. Where `cost_scale` is None it is 9 * out / in, at most 1: what keeps
    the cost of a layer with many in capsules at that of the paper's hidden layers, and its activations off the
    sigmoid's ends.
    """

    iterations: Annotated[int, Ge(1)] = 3
    inverse_temperature: Annotated[float, Gt(0)] = INVERSE_TEMPERATURE
    variance_floor: Annotated[float, Gt(0)] = VARIANCE_FLOOR
    cost_scale: Annotated[float, Gt(0)] | None = None
    needs: ClassVar[tuple[str, ...]] = ("in_activations",)
    averages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)

    def parameters(self, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
        return {name: ParameterSpec((shape.out_capsules,)) for name in ("beta_a", "beta_u")}

    def _settings(self, in_capsules: int, out_capsules: int) -> dict[str, Any]:
        scale = min(1.0, HIDDEN_IN_PER_OUT * out_capsules / in_capsules) if self.cost_scale is None else self.cost_scale
        return asdict(self) | {"cost_scale": scale}

    def __call__(
        self,
        votes: Float[Array, "in out dim"],
        in_activations: Float[Array, "in"] | None = None,
        *,
        beta_a: Float[Array, "out"],
        beta_u: Float[Array, "out"],
    ) -> Routed:
        settings = self._settings(*votes.shape[:2])
        return em_routing(votes, in_activations, beta_a=beta_a, beta_u=beta_u, **settings)

    def route_patches(
        self,
        votes: Float[Array, "rows columns kernel kernel in out dim"],
        in_activations: Float[Array, "rows columns kernel kernel in"],
        *,
        stride: int,
        beta_a: Float[Array, "out"],
        beta_u: Float[Array, "out"],
    ) -> Routed:
        kernel, _, in_types, out_types = votes.shape[2:6]
        settings = self._settings(kernel * kernel * in_types, out_types)
        return em_patch_routing(votes, in_activations, stride=stride, beta_a=beta_a, beta_u=beta_u, **settings)

    def route_patches_fused(
        self,
        weights: Float[Array, "kernel kernel in out a b"],
        poses: Float[Array, "batch height width in dim"],
        in_activations: Float[Array, "batch height width in"],
        *,
        stride: int,
        padding: int,
        transform: Transform,
        beta_a: Array,
        beta_u: Array,
    ) -> Routed:
        """`route_patches` of the convolutional votes of a batch, see `fused_em_patches`."""
        kernel, _, in_types, out_types = weights.shape[:4]
        settings = EMSettings(**self._settings(kernel * kernel * in_types, out_types))
        means, logits, couplings = fused_em_patches(
            weights,
            poses,
            in_activations,
            beta_a,
            beta_u,
            stride=stride,
            padding=padding,
            transform=transform,
            settings=settings,
        )
        return Routed(means, jax.nn.sigmoid(logits), couplings)


ROUTING = EM
