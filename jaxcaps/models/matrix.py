"""The capsule network of Hinton et al. 2018."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.functional import EM, GivenRouting, Routed
from jaxcaps.functional.patches import patch_counts
from jaxcaps.models.stem import GroupNorm, stem_convolution
from jaxcaps.nnx import ClassCaps, ConvCaps, MatrixPrimaryCaps

# A pose is a 4x4 matrix.
DIM = 16


class MatrixCapsNet(nnx.Module):
    """Matrix capsules with EM routing (Hinton et al. 2018, section 4 and figure 1).

    The network has a 5x5 convolution of stride 2 with normalisation and ReLU, primary capsules by 1x1 convolutions, two
    layers of convolutional capsules (3x3, strides 2 and 1), and class capsules with coordinate addition. All poses are
    4x4 matrices, and each output type has one beta_a and one beta_u. The default widths are the small ones of the
    paper's comparison, A = 64, B = 8, C = D = 16: 68,572 parameters with one channel and ten classes. Train it with
    `spread_loss`.

    Pictures of 32x32, the crops of smallNORB, give maps of 14x14, 6x6 and 4x4, as in the paper's figure. Pictures of
    28x28 do so with `padding=2`; without it, maps are 12x12, 5x5 and 3x3.

    Unlike the authors' code, it uses `GroupNorm`, which has no running state, instead of batch normalisation.

    Args:
        shape: picture shape, (height, width, channels).
        classes: number of classes.
        width: A, the number of channels of the convolution.
        primary_types: B, the number of types of primary capsules.
        types: C and D, the numbers of types of convolutional capsules.
        padding: padding of the first convolution.
        routing: routing of all three routed layers, a routing description, its name, or a routing function.
        dtype: dtype of the computation; routing uses at least float32.

    Raises:
        ValueError: the pictures are too small for the kernels, or `width` is not a multiple of 8.
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
        routing: GivenRouting = EM(),  # noqa: B008 (a frozen description)
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
            Poses [batch, classes, 16], 4x4 matrices in row-major order; activations [batch, classes], with EM in
            (0, 1), which need not sum to 1; couplings [batch, rows, columns, types, classes].
        """
        poses, activations = self.primary(nnx.relu(self.norm(self.convolution(images))))
        for layer in (self.first, self.second):
            poses, activations, _ = layer(poses, activations)
        routed: Routed = self.class_capsules(poses, activations)
        return routed
