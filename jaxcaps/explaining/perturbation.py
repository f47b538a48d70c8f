"""What the dimensions of a capsule stand for: the decoder's picture while they are moved."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxcaps.errors import UserError
from jaxcaps.explaining.capsules import Target, capsule_poses, check_capsules, index_of, routed_capsules
from jaxcaps.explaining.subject import QUICK, Picture, Subject, subject_of
from jaxcaps.inference.model import TrainedClassifier, TrainedEncoder

REACH, STEPS = 0.25, 11


class Perturbed(NamedTuple):
    """Pictures that the decoder makes while one dimension of a capsule is moved and the others stay.

    Attributes:
        frames: float32 [dimensions, steps, size, size, channels] in [0, 1].
        offsets: float32 [steps], what is added to the dimension; the middle one is 0.
        pose: float32 [dimensions], of the capsule.
        capsule: its index.
    """

    frames: np.ndarray
    offsets: np.ndarray
    pose: np.ndarray
    capsule: int


def decode(model: TrainedEncoder, picture: Picture, pose: np.ndarray, capsule: Target = None) -> np.ndarray:
    """The picture that the decoder makes when a capsule has another pose.

    Args:
        model: of `jaxcaps.explain.load`: a classifier or a pre-training with a decoder.
        picture: one picture, in any form that `model.preprocess` takes.
        pose: [dim], such as a row of `capsule_poses` with some values changed.
        capsule: name or index of the class, or index of the latent capsule. Default: the most active one. The decoder
            of a classifier sees this capsule alone, that of a pre-training all of them.

    Returns:
        float32 [size, size, channels] in [0, 1].

    Raises:
        UserError: the network has no decoder or no such capsule, the pose has another shape, or there is not exactly
            one readable picture.
    """
    check_decoder(model)
    wanted, given = (model.config.model.capsule_dim,), np.asarray(pose, np.float32)
    if given.shape != wanted:
        raise UserError(f"a pose of shape {list(given.shape)}: {list(wanted)} expected")
    subject = subject_of(model, picture)
    return _frames(model, subject, index_of(model, subject, capsule), given[None, None])[0, 0]


def perturb(
    model: TrainedEncoder, picture: Picture, capsule: Target = None, *, reach: float = REACH, steps: int = STEPS
) -> Perturbed:
    """Moves each dimension of a capsule (Sabour et al. 2017, section 5.1 and figure 4).

    Args:
        model, picture, capsule: as `decode`.
        reach: the largest offset. Poses have norms below 1; the paper's reach is 0.25.
        steps: offsets from -reach to reach, an odd number.

    Raises:
        UserError: as `decode`, or no such offsets are possible.
    """
    check_decoder(model)
    if steps < 3 or steps % 2 == 0 or not 0 < reach < np.inf:
        raise UserError(f"reach={reach}, steps={steps}: give a reach above 0 and an odd number of at least 3 steps")
    subject = subject_of(model, picture)
    chosen = index_of(model, subject, capsule)
    pose = capsule_poses(model, subject)[chosen]
    offsets = np.linspace(-reach, reach, steps, dtype=np.float32)
    moved = pose + offsets[:, None] * np.eye(len(pose), dtype=np.float32)[:, None]
    return Perturbed(_frames(model, subject, chosen, moved), offsets, pose, chosen)


def has_decoder(model: TrainedEncoder) -> bool:
    return getattr(nnx.merge(*model.on_one_device), "decoder", None) is not None


def check_decoder(model: TrainedEncoder) -> None:
    """
    Raises:
        UserError: the network has no decoder; the message names the flag that trains one.
    """
    check_capsules(model)
    if not has_decoder(model):
        flag = "--reconstruction-weight=0.1" if isinstance(model, TrainedClassifier) else "--inpaint-weight=10"
        raise UserError(
            f"{model.restore} has no decoder, so its capsules cannot be shown as pictures; train it with {flag}"
        )


def _frames(model: TrainedEncoder, subject: Subject, capsule: int, poses: np.ndarray) -> np.ndarray:
    alone = isinstance(model, TrainedClassifier)
    return np.asarray(_decoded(*subject, jnp.asarray(capsule, jnp.int32), jnp.asarray(poses), alone=alone))


@partial(jax.jit, static_argnames=("graph", "alone"), compiler_options=QUICK)
def _decoded(
    graph: Any, state: Any, image: jax.Array, capsule: jax.Array, poses: jax.Array, *, alone: bool
) -> jax.Array:
    """Pictures [parts, some, ...] of poses [parts, some, dim] of a capsule; the others are 0 if it is `alone`."""
    network = nnx.merge(graph, state)
    encoded = network.encoder(image[None])
    others = routed_capsules(network)(encoded.poses).poses[0]
    others = jnp.zeros_like(others) if alone else others
    some = poses.shape[1]

    def pictures(part: jax.Array) -> jax.Array:
        seen = jnp.broadcast_to(others, (some, *others.shape)).at[:, capsule].set(part.astype(others.dtype))
        skipped = encoded.maps if network.decoder.skips else ()
        maps = tuple(jnp.broadcast_to(each, (some, *each.shape[1:])) for each in skipped)
        made: jax.Array = network.decoder(seen, maps).astype(jnp.float32)
        return made

    # A part at a time: all frames of a large picture would not fit into memory.
    return jax.lax.map(pictures, poses)
