"""Dynamic routing between capsules by agreement."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing.base import ParameterSpec, Routed, check_iterations
from jaxcaps.functional.squash import safe_norm, squash

# These products are bound by memory, not arithmetic; the default would let an accelerator round their inputs.
PRECISION = lax.Precision.HIGHEST


def dynamic_routing(
    votes: Float[Array, "in out dim"],
    in_activations: Float[Array, "in"] | None = None,
    *,
    iterations: int = 3,
) -> Routed:
    """Routing by agreement (Sabour et al. 2017, procedure 1), with the gradient through all its iterations.

    Each iteration couples every in capsule to the out capsules by a softmax over the *out* capsules, squashes each out
    capsule's coupled sum of votes into its pose, and adds the agreement of votes and poses to the logits. So
    `iterations` is the number of squashes. The logits start at 0, so the first couplings are 1 / out. Since they only
    gather agreements with one pose after another, they equal the agreement with the sum of the poses so far: that
    sum, not [in, out] logits, is what the loop carries.

    Args:
        votes: the pose each in capsule predicts for each out capsule; computed in at least float32.
        in_activations: where given, scale each in capsule's share of the sums (not its couplings or agreement). Leave
            them out where the norm of a pose is its activation, as in the paper: the votes carry it already.
        iterations: a Python int of at least 1.

    Returns:
        Poses of norm below 1; activations, their norms, in [0, 1); the last iteration's couplings, whose rows sum to 1.
        All in the dtype of `votes`.

    Raises:
        ValueError: `iterations` is no Python int of at least 1.
    """
    check_iterations(iterations)
    in_capsules, out_capsules, _ = votes.shape
    wide = at_least_float32(votes)
    weighted = wide if in_activations is None else wide * in_activations.astype(wide.dtype)[:, None, None]

    def couple(pose_sum: Float[Array, "out dim"]) -> Float[Array, "in out"]:
        agreement = jnp.einsum("ijd,jd->ij", wide, pose_sum, precision=PRECISION)
        return jax.nn.softmax(agreement, axis=1)

    def gather(couplings: Float[Array, "in out"]) -> Float[Array, "out dim"]:
        return squash(jnp.einsum("ij,ijd->jd", couplings, weighted, precision=PRECISION))

    couplings = jnp.full((in_capsules, out_capsules), 1 / out_capsules, wide.dtype)
    poses = gather(couplings)
    if iterations > 1:
        pose_sum = lax.fori_loop(1, iterations - 1, lambda _, total: total + gather(couple(total)), poses)
        couplings = couple(pose_sum)
        poses = gather(couplings)
    routed = Routed(poses, safe_norm(poses), couplings)
    return Routed(*(each.astype(votes.dtype) for each in routed))


@dataclass(frozen=True)
class Dynamic:
    """The description of `dynamic_routing`: no learned parameters."""

    iterations: int = 3

    def __post_init__(self) -> None:
        check_iterations(self.iterations)

    def parameters(self, in_capsules: int, out_capsules: int, dim: int) -> Mapping[str, ParameterSpec]:
        return {}

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        return dynamic_routing(votes, in_activations, iterations=self.iterations)
