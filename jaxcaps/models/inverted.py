"""The capsule network of Tsai et al. 2020."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.functional import (
    InvertedAttention,
    Routed,
    convolution,
    convolutional_votes,
    matrix_votes,
    over_examples,
)
from jaxcaps.functional.patches import patch_counts
from jaxcaps.functional.routing.base import check_iterations
from jaxcaps.functional.routing.inverted_attention import VARIANCE_OFFSET
from jaxcaps.models.stem import stem_convolution
from jaxcaps.nnx import ConvCaps, DenseCaps

# A pose is a 4x4 matrix.
DIM = 16


class InvertedAttentionCapsNet(nnx.Module):
    """Capsules with inverted dot-product attention routing (Tsai et al. 2020, procedures 1 and 2).

    The network has a 3x3 convolution of stride 2 with ReLU; primary capsules by a 1x1 convolution and layer
    normalisation; two layers of convolutional capsules (3x3, strides 2 and 1); and class capsules, fully connected to
    all capsules of the last map. All poses are 4x4 matrices. The first iteration updates the layers in sequence. In
    each later iteration, all layers route at once, from the previous poses of the layers below and above ("concurrent
    routing"). A linear layer computes the logit of each class from its pose. Train it with cross-entropy.

    The default widths are those of the authors' code for CIFAR-10: 492,176 parameters for 32x32x3 pictures and ten
    classes.

    It differs from the paper in four ways. The backbone is the small one, a single convolution, not the ResNet with
    95.1% on CIFAR-10. Agreements are the plain dot products of procedure 1, which the authors' code divides by
    sqrt(dim). There is no dropout. The classifier has no bias, which would shift all logits equally.

    Args:
        shape: picture shape, (height, width, channels).
        classes: number of classes.
        width: channels of the convolution.
        primary_types: number of types of primary capsules.
        types: number of types in each of the two layers of convolutional capsules.
        iterations: number of routing iterations, a Python int of at least 1; 2 is best in the paper.
        dtype: dtype of the computation; routing uses at least float32.

    Raises:
        ValueError: the pictures are too small for the kernels, or `iterations` is not a Python int of at least 1.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int] = (32, 32, 3),
        classes: int = 10,
        width: int = 128,
        primary_types: int = 32,
        types: tuple[int, int] = (32, 32),
        iterations: int = 2,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_iterations(iterations)
        settings: dict[str, Any] = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.convolution = stem_convolution(shape[2], width, kernel=3, stride=2, padding=1, **settings)
        # No bias, as in the authors' code, because the layer normalisation has one.
        self.primary = nnx.Conv(
            width,
            primary_types * DIM,
            kernel_size=(1, 1),
            use_bias=False,
            padding=((0, 0), (0, 0)),
            conv_general_dilated=convolution,
            **settings,
        )
        self.primary_norm = nnx.LayerNorm(DIM, epsilon=VARIANCE_OFFSET, **settings)
        sides = patch_counts(shape[:2], kernel=3, stride=2, padding=1)
        routed: dict[str, Any] = dict(
            routing=InvertedAttention(1), transform="matrix", in_norm_squared=float(DIM), **settings
        )
        layers: list[ConvCaps | DenseCaps] = []
        votes, in_types = [], primary_types
        for out_types, stride in zip(types, (2, 1), strict=True):
            sides = patch_counts(sides, kernel=3, stride=stride, padding=0)
            layers.append(ConvCaps(in_types, out_types, DIM, DIM, kernel=3, stride=stride, **routed))
            votes.append(sides[0] * sides[1] * 9 * in_types * out_types * DIM)
            in_types = out_types
        layers.append(DenseCaps(sides[0] * sides[1] * in_types, classes, DIM, DIM, **routed))
        self.layers = nnx.List(layers)
        self.classifier = nnx.Linear(DIM, 1, use_bias=False, **settings)
        self.primary_types, self.iterations, self.votes, self.dtype = primary_types, iterations, max(votes), dtype

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Routed:
        """Classifies pictures with values in [0, 1].

        Returns:
            Poses [batch, classes, 16]; activations [batch, classes], the softmax of `logits` over the classes (the
            norms of layer-normalised poses carry no information); couplings [batch, capsules of the last map, classes].
        """
        features = self.primary(nnx.relu(self.convolution(images)))
        features = features.reshape(*features.shape[:-1], self.primary_types, DIM)
        # Flax computes the statistics in float32 and mixes dtypes, which strict promotion rejects.
        with jax.numpy_dtype_promotion("standard"):
            primary = self.primary_norm(features).astype(self.dtype)
        vote_bytes = self.votes * primary.dtype.itemsize
        poses, couplings = over_examples(lambda _, example: self._route(example), (), primary, vote_bytes=vote_bytes)
        routed = Routed(poses, jnp.zeros(poses.shape[:2], poses.dtype), couplings)
        return routed._replace(activations=jax.nn.softmax(self.logits(routed), axis=-1))

    def logits(self, routed: Routed) -> Float[Array, "batch classes"]:
        """The logits that a classifier shared by all classes computes from their poses, for a precise cross-entropy."""
        scores: Array = self.classifier(routed.poses)
        return scores[..., 0]

    def _route(self, primary: Float[Array, "height width types dim"]) -> tuple[Array, Array]:
        """Returns the class poses of one example and their couplings."""
        maps, couplings = [primary], primary
        for layer in self.layers:
            poses, couplings = _attend(layer, maps[-1], None)
            maps.append(poses)
        for _ in range(self.iterations - 1):
            attended = [_attend(layer, *between) for layer, *between in zip(self.layers, maps, maps[1:], strict=False)]
            maps, couplings = [primary, *(poses for poses, _ in attended)], attended[-1][1]
        return maps[-1], couplings


def _attend(layer: ConvCaps | DenseCaps, poses: Array, above: Array | None) -> tuple[Array, Array]:
    """One routing iteration of a layer from its input poses and its previous output poses (None at the start)."""
    weights = layer.weights[...].astype(poses.dtype)
    route = partial(layer.routing, **{name: getattr(layer, name)[...] for name in layer.names})
    if isinstance(layer, DenseCaps):
        routed = route(matrix_votes(weights, poses.reshape(-1, DIM)), initial_poses=above)
        return routed.poses, routed.couplings
    votes = convolutional_votes(weights, poses, stride=layer.stride, padding=layer.padding, transform="matrix")
    rows, columns = votes.shape[:2]
    flat = votes.reshape(rows * columns, -1, *votes.shape[-2:])
    if above is None:
        routed = jax.vmap(route)(flat)
    else:
        before = above.reshape(rows * columns, *above.shape[2:])
        routed = jax.vmap(lambda votes, poses: route(votes, initial_poses=poses))(flat, before)
    return routed.poses.reshape(rows, columns, *routed.poses.shape[1:]), routed.couplings
