"""The capsule network of Sabour et al. 2017."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Integer

from jaxcaps.functional import Dynamic, GivenRouting, Routed
from jaxcaps.functional.patches import patch_counts
from jaxcaps.models.stem import stem_convolution
from jaxcaps.nnx import CapsuleDecoder, DenseCaps, PrimaryCaps


class SabourCapsNet(nnx.Module):
    """CapsNet (Sabour et al. 2017, section 4): one convolution, primary capsules, class capsules by dynamic routing.

    The defaults are those of the paper: 28x28 pictures of one channel, a 9x9 convolution to 256 channels, 32 types of
    8-dimensional primary capsules by a 9x9 convolution of stride 2 (1,152 capsules), and ten 16-dimensional class
    capsules, with 6,804,224 parameters, or 8,215,568 with the decoder. Train it with `margin_loss` and 0.0005 times the
    summed squared error of the reconstruction.

    Args:
        shape: picture shape, (height, width, channels).
        classes: number of classes.
        width: channels of the convolution.
        primary_types, primary_dim: number of types and dimension of the primary capsules.
        class_dim: dimension of the class capsules.
        kernel: kernel size of both convolutions.
        routing: a routing description, its name, or a routing function.
        decoder: decoder for `reconstruct`, such as `CapsuleDecoder(classes, class_dim, shape, rngs=rngs)`, or None.
        dtype: dtype of the computation; routing uses at least float32.

    Raises:
        ValueError: the pictures are too small for the kernels.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int] = (28, 28, 1),
        classes: int = 10,
        width: int = 256,
        primary_types: int = 32,
        primary_dim: int = 8,
        class_dim: int = 16,
        kernel: int = 9,
        routing: GivenRouting = Dynamic(),  # noqa: B008 (a frozen description)
        decoder: CapsuleDecoder | None = None,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        settings: dict[str, Any] = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        sides = patch_counts(shape[:2], kernel=kernel, stride=1, padding=0)
        rows, columns = patch_counts(sides, kernel=kernel, stride=2, padding=0)
        self.convolution = stem_convolution(shape[2], width, kernel=kernel, **settings)
        self.primary = PrimaryCaps(width, primary_types, primary_dim, kernel=kernel, stride=2, **settings)
        in_capsules = rows * columns * primary_types
        self.class_capsules = DenseCaps(in_capsules, classes, primary_dim, class_dim, routing=routing, **settings)
        self.decoder = decoder

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Routed:
        """Classifies pictures with values in [0, 1].

        Returns:
            Poses [batch, classes, class_dim]; activations [batch, classes], with dynamic routing the norms of the
            poses, in [0, 1); couplings [batch, primary capsules, classes].
        """
        routed: Routed = self.class_capsules(self.primary(nnx.relu(self.convolution(images))))
        return routed

    def reconstruct(
        self, poses: Float[Array, "batch classes dim"], labels: Integer[Array, "batch"] | None = None
    ) -> Float[Array, "batch height width channels"]:
        """Reconstructs pictures in (0, 1) from the pose of the labelled class, or without labels from the longest pose.

        Raises:
            ValueError: the network was made without a decoder.
        """
        if self.decoder is None:
            raise ValueError("decoder=None: reconstruction needs a network with a CapsuleDecoder")
        pictures: Array = self.decoder(poses, labels)
        return pictures
