"""The capsule network of Mazzia et al. 2021."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.functional import GivenRouting, Routed, SelfAttention, exponential_squash
from jaxcaps.functional.patches import patch_counts
from jaxcaps.models.stem import GroupNorm, stem_convolution
from jaxcaps.nnx import DenseCaps

# The mean squared norm of a capsule of norm about 1 after the exponential squash, (1 - 1/e)^2.
IN_NORM_SQUARED = 0.4


class EfficientCapsNet(nnx.Module):
    """Efficient-CapsNet (Mazzia et al. 2021): few capsules, routed in one pass by self-attention.

    The network has convolutions, each followed by ReLU and normalisation; a depthwise convolution that covers the whole
    map, whose channels form the primary capsules; and class capsules by self-attention routing with a learned prior.
    The defaults are those of the paper for MNIST: 16 primary capsules of 8 dimensions and ten class capsules of 16
    dimensions, with 161,824 parameters. Train it with `margin_loss`. The paper adds a reconstruction, for which a
    `CapsuleDecoder` can be applied to the poses.

    Unlike the paper, it uses `GroupNorm` instead of batch normalisation. `GroupNorm` has as many parameters but no
    running state, so the output for an example does not depend on its batch or on a training mode.

    Args:
        shape: picture shape, (height, width, channels).
        classes: number of classes.
        stages: (channels, kernel, stride) of each convolution, without padding. For smallNORB at 48x48, the paper uses
            ((32, 7, 2), (64, 3, 1), (64, 3, 1), (128, 3, 2)).
        primary_dim: dimension of the primary capsules. Their number is the last stage's channels divided by it.
        class_dim: dimension of the class capsules.
        routing: a routing description, its name, or a routing function.
        dtype: dtype of the computation; routing uses at least float32.

    Raises:
        ValueError: the pictures are too small for the stages, or a number of channels is not a multiple of 8 or of
            `primary_dim`.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int] = (28, 28, 1),
        classes: int = 10,
        stages: Sequence[tuple[int, int, int]] = ((32, 5, 1), (64, 3, 1), (64, 3, 1), (128, 3, 2)),
        primary_dim: int = 8,
        class_dim: int = 16,
        routing: GivenRouting = SelfAttention(),  # noqa: B008 (a frozen description)
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        settings: dict[str, Any] = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        convolutions, norms = [], []
        sides, features = shape[:2], shape[2]
        for width, kernel, stride in stages:
            sides = patch_counts(sides, kernel=kernel, stride=stride, padding=0)
            convolutions.append(stem_convolution(features, width, kernel=kernel, stride=stride, **settings))
            norms.append(GroupNorm(width, **settings))
            features = width
        if features % primary_dim:
            raise ValueError(f"primary_dim={primary_dim}: expected a divisor of the last stage's {features} channels")
        self.convolutions, self.norms = nnx.List(convolutions), nnx.List(norms)
        self.primary = WholeMapCaps(sides, features, primary_dim, **settings)
        self.class_capsules = DenseCaps(
            features // primary_dim,
            classes,
            primary_dim,
            class_dim,
            routing=routing,
            in_norm_squared=IN_NORM_SQUARED,
            **settings,
        )

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Routed:
        """Classifies pictures with values in [0, 1].

        Returns:
            Poses [batch, classes, class_dim]; activations [batch, classes], with self-attention the norms of the poses,
            in [0, 1); couplings [batch, primary capsules, classes].
        """
        x = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(nnx.relu(convolution(x)))
        routed: Routed = self.class_capsules(self.primary(x))
        return routed


class WholeMapCaps(nnx.Module):
    """Primary capsules by a depthwise convolution over the whole map and the exponential squash.

    The kernel has a single position: each output channel is a weighted sum of its map, and `dim` channels form one
    capsule.

    Args:
        sides: height and width of the map.
        features: channels of the map, which equals the total dimension of all capsules.
        dim: dimension of a capsule.
    """

    def __init__(
        self, sides: tuple[int, ...], features: int, dim: int, *, dtype: Any, param_dtype: Any, rngs: nnx.Rngs
    ):
        # With a normalised map, capsules then have norms of about 1, where the squash is neither saturated nor flat.
        deviation = (sides[0] * sides[1] * dim) ** -0.5
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (*sides, features), param_dtype) * deviation)
        self.bias = nnx.Param(jnp.zeros(features, param_dtype))
        self.dim, self.dtype = dim, dtype

    def __call__(self, maps: Float[Array, "batch height width channels"]) -> Float[Array, "batch capsules dim"]:
        """Returns poses of norm below 1."""
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        sums = jnp.einsum("bhwc,hwc->bc", maps.astype(self.dtype), kernel) + bias[None]
        return exponential_squash(sums.reshape(len(sums), -1, self.dim))
