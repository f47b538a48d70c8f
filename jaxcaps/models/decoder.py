"""Decodes capsules to a picture, or to maps of its size: a dense layer, then transposed convolutions."""

from collections.abc import Callable, Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.config import ModelConfig
from jaxcaps.functional import at_least_float32
from jaxcaps.models.geometry import geometry
from jaxcaps.models.settings import GroupNorm, dtypes, linear
from jaxcaps.models.transposed import TransposedConvolution


class Decoder(nnx.Module):
    """Decodes the flattened poses of class or latent capsules to maps of the picture's size. Default: a picture.

    The feature maps pass through the encoder's sides in reverse order, as listed in `model.decoder`. With
    `model.decoder_skips`, the stages with `skip` add the encoder's map of the same shape.

    Args:
        capsules: number of capsules.
        model: the architecture.
        image_size: side of the square pictures.
        rngs: random streams for the parameters.
        channels: number of output channels. Default: that of the pictures.
        activation: activation of the last layer. The default, a sigmoid, gives pictures in [0, 1].
        gain: scale of the last layer's initial kernel. With a small gain, the initial maps are near 0.
        features: if above 0, the last convolution has this many channels, and a 1x1 convolution maps them to the output
            channels. This is much faster for hundreds of channels.
    """

    def __init__(
        self,
        capsules: int,
        model: ModelConfig,
        image_size: int,
        rngs: nnx.Rngs,
        *,
        channels: int | None = None,
        activation: Callable[[Array], Array] = jax.nn.sigmoid,
        gain: float = 1.0,
        features: int = 0,
    ):
        shape, channels = geometry(model, image_size), channels or model.channels
        dtype, param_dtype = dtypes(model)
        self.grid, self.skips, self.stages = shape.grid, model.decoder_skips, shape.decoder
        self.activation = activation
        width = shape.grid**2 * model.decoder_width
        he_normal = nnx.initializers.he_normal()
        self.dense = linear(capsules * model.capsule_dim, width, model, rngs, kernel_init=he_normal)
        convolutions, norms = [], []
        side, width = shape.grid, model.decoder_width
        for stage in shape.decoder:
            target, target_width = shape.maps[stage.stage]
            if stage.stage == 0:
                target_width = features or channels
            convolutions.append(
                TransposedConvolution(
                    width,
                    target_width,
                    kernel=stage.kernel,
                    stride=round(target / side),
                    target=target,
                    gain=gain if stage.stage == 0 and not features else 1.0,
                    dtype=dtype,
                    param_dtype=param_dtype,
                    rngs=rngs,
                )
            )
            if model.normalization == "group" and stage.stage > 0:
                norms.append(GroupNorm(target_width, model, rngs))
            side, width = target, target_width
        self.convolutions, self.norms = nnx.List(convolutions), nnx.List(norms)
        self.pixelwise = (
            linear(
                features,
                channels,
                model,
                rngs,
                kernel_init=nnx.initializers.variance_scaling(2 * gain**2, "fan_in", "truncated_normal"),
            )
            if features
            else None
        )

    def __call__(
        self, poses: Float[Array, "batch capsules dim"], maps: Sequence[Array] = ()
    ) -> Float[Array, "batch height width channels"]:
        """Returns pictures in [0, 1], or other maps, at least float32.

        `maps` are the encoder's feature maps, which skips need.
        """
        x = nnx.relu(self.dense(poses.reshape(poses.shape[0], -1)))
        x = x.reshape(x.shape[0], self.grid, self.grid, -1)
        for index, (stage, convolution) in enumerate(zip(self.stages, self.convolutions, strict=True)):
            x = convolution(x)
            if stage.stage == 0:
                break
            if self.norms:
                x = self.norms[index](x)
            if self.skips and stage.skip:
                x = x + maps[stage.stage]
            x = nnx.relu(x)
        if self.pixelwise is not None:
            x = self.pixelwise(nnx.relu(x))
        return self.activation(at_least_float32(x))
