"""The capsule network of Hinton et al. 2018."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.functional import EM, AnyRouting, Routed
from jaxcaps.functional.patches import patch_counts
from jaxcaps.models.stem import GroupNorm, stem_convolution
from jaxcaps.nnx import ClassCaps, ConvCaps, MatrixPrimaryCaps

# A pose is a 4x4 matrix.
DIM = 16


class MatrixCapsNet(nnx.Module):
    """Matrix capsules with EM routing (Hinton et al. 2018, section 4 and figure 1).

    A 5x5 convolution of stride 2 with normalisation and ReLU, primary capsules by 1x1 convolutions, two layers of
    convolutional capsules (3x3, strides 2 and 1) and class capsules with coordinate addition; all poses are 4x4
    matrices, and each out type has one beta_a and one beta_u. The default widths are the small ones of the paper's
    comparison, A = 64, B = 8, C = D = 16: with one channel and ten classes 68,572 parameters. It is trained with
    `spread_loss`.

    Pictures of 32x32, the crops of smallNORB, give maps of 14x14, 6x6 and 4x4, as in the paper's figure; so do those
    of 28x28 with `padding=2` (without it 12x12, 5x5 and 3x3).

    Departs from the paper in its normalisation: `GroupNorm`, which has no running state, where the authors' code has
    batch normalisation.

    Args:
        shape: of the pictures, (height, width, channels).
        classes: number of classes.
        width: A, the channels of the convolution.
        primary_types: B, the types of the primary capsules.
        types: C and D, those of the convolutional capsules.
        padding: of the first convolution.
        routing: of all three routed layers, a routing description or a routing function.
        dtype: what is computed in; the routing is at least float32.

    Raises:
        ValueError: the pictures are too small for the kernels, or `width` is no multiple of 8.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int] = (32, 32, 1),
        classes: int = 10,
        width: int = 64,
        primary_types: int = 8,
        types: tuple[int, int] = (16, 16),
        padding: int = 0,
        routing: AnyRouting = EM(),  # noqa: B008 (a frozen description)
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        settings: dict[str, Any] = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        sides = patch_counts(shape[:2], kernel=5, stride=2, padding=padding)
        for stride in (2, 1):
            sides = patch_counts(sides, kernel=3, stride=stride, padding=0)
        self.convolution = stem_convolution(shape[2], width, kernel=5, stride=2, padding=padding, **settings)
        self.norm = GroupNorm(width, **settings)
        self.primary = MatrixPrimaryCaps(width, primary_types, DIM, **settings)
        routed: dict[str, Any] = dict(transform="matrix", routing=routing, **settings)
        self.first = ConvCaps(primary_types, types[0], DIM, DIM, kernel=3, stride=2, **routed)
        self.second = ConvCaps(types[0], types[1], DIM, DIM, kernel=3, **routed)
        self.class_capsules = ClassCaps(*sides, types[1], classes, DIM, DIM, **routed)

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Routed:
        """Classifies pictures with values in [0, 1].

        Returns:
            Poses [batch, classes, 16], 4x4 matrices by rows; activations [batch, classes], under EM in (0, 1), which
            need not sum to 1; couplings [batch, rows, columns, types, classes].
        """
        poses, activations = self.primary(nnx.relu(self.norm(self.convolution(images))))
        for layer in (self.first, self.second):
            poses, activations, _ = layer(poses, activations)
        routed: Routed = self.class_capsules(poses, activations)
        return routed
