"""Colourisation: from a picture's lightness, through the capsules, its colours (Zhang et al. 2016).

The reference study's other self-supervision (El-Shimy et al. 2025), there with an absolute error and a perceptual term.
docs/self-supervision.md has the equations.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from jaxcaps.config import AugmentationConfig, ColouriseConfig, ModelConfig
from jaxcaps.functional import (
    ab_bins,
    annealed_mean,
    chroma,
    coupling_entropy,
    lab_from_rgb,
    perceptual_loss,
    rebalanced_cross_entropy,
    rgb_from_lab,
)
from jaxcaps.models import ClassCapsules, Decoder, Encoder
from jaxcaps.models.capsnet import dtypes
from jaxcaps.models.perceptual import PerceptualNetwork
from jaxcaps.tasks.base import Examples, Shard, random_view, whole_pictures

# a and b of all of sRGB's colours lie within it (-108 to 99), so tanh reaches them all.
AB_SCALE = 110.0
# Colours start near grey, all bins near alike. In He initialisation they start three times as strong as a picture's, as
# noise that dozens of steps are spent to unlearn.
HEAD_GAIN = 0.1
# Each pixel's logits of the bins are made from so many features. A convolution to 262 channels took three quarters of
# the whole step.
BIN_FEATURES = 32
# Pictures less colourful than this on average count as if they were, where saturation is a ratio: nobody sees it.
LEAST_CHROMA = 1.0
# Saturation is measured at every fourth pixel of each row and column: decoding 262 probabilities is dear.
STRIDE = 4
# The lightness at which the figure shows colours without the picture.
EVEN_LIGHTNESS = 65.0


class Views(NamedTuple):
    """One view of each picture, taken apart: lightness in [0, 100], a and b."""

    lightness: Float[Array, "batch height width"]
    ab: Float[Array, "batch height width 2"]


class ColouringNetwork(nnx.Module):
    """Encoder, latent capsules, and a decoder whose last layer has a and b, or a logit for each bin of colours."""

    def __init__(
        self, encoder: Encoder, model: ModelConfig, colourise: ColouriseConfig, image_size: int, rngs: nnx.Rngs
    ):
        self.encoder = encoder
        self.latent_capsules = ClassCapsules(model.ssl_capsules, model, image_size, rngs)
        last: dict[str, Any] = (
            {"channels": len(ab_bins().centres), "activation": jax.nn.identity, "features": BIN_FEATURES}
            if colourise.colour_loss == "bins"
            else {"channels": 2, "activation": jnp.tanh}
        )
        self.decoder = Decoder(model.ssl_capsules, model, image_size, rngs, gain=HEAD_GAIN, **last)


@dataclass(frozen=True)
class Colourise:
    """`--task=colourise`.

    Attributes:
        perceptual: for `--colour-loss=l1`, unless its strength is 0. Frozen: it is in no module.
        bin_weights: for `--colour-loss=bins`, of each bin, from the training pictures.
    """

    model: ModelConfig
    colourise: ColouriseConfig
    augmentation: AugmentationConfig
    image_size: int
    perceptual: PerceptualNetwork | None = None
    bin_weights: tuple[float, ...] | None = None

    reported: ClassVar[tuple[str, ...]] = (
        "train/colour_error",
        "train/perceptual",
        "train/colour_saturation",
        "validation/colour_error",
        "validation/colour_saturation",
    )

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> ColouringNetwork:
        return ColouringNetwork(encoder, self.model, self.colourise, self.image_size, rngs)

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width 3"]) -> Views:
        view = random_view(key, image, self.augmentation, self.image_size, dtypes(self.model).parameters)
        lab = lab_from_rgb(view)
        return Views(lab[..., 0], lab[..., 1:])

    def loss(
        self, modules: ColouringNetwork, views: Views, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        encoded = modules.encoder(as_picture(views.lightness))
        latent = modules.latent_capsules(encoded.poses)
        made = modules.decoder(latent.poses, encoded.maps)
        valid = examples.valid
        metrics = {"coupling_entropy": shard.mean(jax.vmap(coupling_entropy)(latent.couplings), valid)}
        if self.bin_weights is not None:
            weights = jnp.asarray(self.bin_weights, made.dtype)
            losses = jax.vmap(rebalanced_cross_entropy, in_axes=(0, 0, None))(made, views.ab, weights)
            loss = metrics["colour_cross_entropy"] = shard.mean(losses, valid)
        else:
            errors = jnp.mean(jnp.abs(made - views.ab / AB_SCALE), axis=(1, 2, 3))
            loss = shard.mean(errors, valid)
            if self.perceptual is not None:
                features, target = (
                    self.perceptual(coloured(views.lightness, ab)) for ab in (AB_SCALE * made, views.ab)
                )
                metrics["perceptual"] = shard.mean(jax.vmap(perceptual_loss)(features, target), valid)
                loss = loss + self.colourise.perceptual_strength * metrics["perceptual"]
        metrics |= self._colours(jax.lax.stop_gradient(made[:, ::STRIDE, ::STRIDE]), views, examples, shard)
        return loss, {"loss": loss, **metrics}

    def _colours(
        self, made: Float[Array, "batch h w channels"], views: Views, examples: Examples, shard: Shard
    ) -> dict[str, Float[Array, ""]]:
        """The same two numbers for both losses, so that runs can be compared.

        colour_error is the mean absolute error of a and b, over 110; colour_saturation the mean chroma of what was made
        over that of the pictures: 0 is grey, 1 as colourful as they are.
        """
        made_ab, ab = self.decoded(made), views.ab[:, ::STRIDE, ::STRIDE]
        errors = jnp.mean(jnp.abs(made_ab - ab), axis=(1, 2, 3)) / AB_SCALE
        mine, theirs = (
            shard.mean(jnp.mean(jax.vmap(chroma)(each), axis=(1, 2)), examples.valid) for each in (made_ab, ab)
        )
        saturation = mine / jnp.maximum(shard.total(theirs), LEAST_CHROMA)
        return {"colour_error": shard.mean(errors, examples.valid), "colour_saturation": saturation}

    def decoded(self, made: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width 2"]:
        """a and b of what the decoder made."""
        if self.colourise.colour_loss == "l1":
            return AB_SCALE * made
        temperature = self.colourise.decoding_temperature
        return jax.vmap(lambda logits: annealed_mean(logits, temperature=temperature))(made)

    def notes(self, batch_size: int) -> list[str]:
        if self.bin_weights is not None:
            least, most = min(self.bin_weights), max(self.bin_weights)
            return [f"Colours: {len(self.bin_weights)} bins; a pixel counts {least:.2g} (most frequent) to {most:.2g}"]
        if self.perceptual is None:
            return ["Perceptual loss: off"]
        return [f"Perceptual loss: {self.perceptual.description}; relu2_2 and relu3_3"]

    def pictures(self, modules: ColouringNetwork, images: UInt8[Array, "batch height width 3"]) -> dict[str, Array]:
        whole, seen, made, colours, made_colours = nnx.jit(self._columns)(modules, images)
        return {
            "picture": whole,
            "what the encoder sees": seen,
            "reconstruction": made,
            "its colours alone": colours,
            "reconstructed": made_colours,
        }

    def _columns(self, modules: ColouringNetwork, images: UInt8[Array, "batch height width 3"]) -> tuple[Array, ...]:
        whole = whole_pictures(images, self.image_size)
        lab = jax.vmap(lab_from_rgb)(whole)
        lightness, ab = lab[..., 0], lab[..., 1:]
        seen = as_picture(lightness)
        encoded = modules.encoder(seen)
        made = self.decoded(modules.decoder(modules.latent_capsules(encoded.poses).poses, encoded.maps))
        made, even = made.astype(ab.dtype), jnp.full_like(lightness, EVEN_LIGHTNESS)
        return whole, seen, coloured(lightness, made), coloured(even, ab), coloured(even, made)


def as_picture(lightness: Float[Array, "batch height width"]) -> Float[Array, "batch height width 3"]:
    """Lightness in [0, 1] three times over: the first kernel keeps the shape it has for colour pictures."""
    return jnp.broadcast_to((lightness / 100)[..., None], (*lightness.shape, 3))


def coloured(
    lightness: Float[Array, "batch height width"], ab: Float[Array, "batch height width 2"]
) -> Float[Array, "batch height width 3"]:
    """Pictures in [0, 1] of a lightness and colours."""
    return jax.vmap(rgb_from_lab)(jnp.concatenate([lightness[..., None], ab], axis=-1))
