"""Colourisation: predicts the colours of a picture from its lightness, through the capsules (Zhang et al. 2016).

This is the other self-supervised task of the reference study (El-Shimy et al. 2025), which uses an absolute error and a
perceptual term. docs/explanation/self-supervision.md has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from annotated_types import Interval

from data_prep.bounds import NotNegative
from jaxcaps.config import IsPath
from jaxcaps.errors import UserError
from jaxcaps.lazy import functional, jax, jnp, models, nnx
from jaxcaps.tasks.base import Examples, Shard, Task, whole_pictures

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray, UInt8

    from jaxcaps.data.dataset import Dataset
    from jaxcaps.models import Encoder, TaskNetwork
    from jaxcaps.models.perceptual import PerceptualNetwork
    from jaxcaps.plan.config import Config

# a and b of all sRGB colours lie within this range (-108 to 99), so tanh can reach them.
AB_SCALE = 110.0
# Initial colours are near grey, and all bins nearly equal. With He initialisation, they would be noise three times as
# strong as the colours of a picture, which takes dozens of steps to unlearn.
HEAD_GAIN = 0.1
# The number of features from which the logits of a pixel are computed. A convolution to 262 channels took three
# quarters of the time of a step.
BIN_FEATURES = 32
# Lower bound of the mean chroma in ratios. Less chroma is not visible.
LEAST_CHROMA = 1.0
# Measure saturation at every fourth pixel of each row and column, because decoding 262 probabilities is expensive.
STRIDE = 4
# The lightness at which the figure shows the colours alone.
EVEN_LIGHTNESS = 65.0


@dataclass(frozen=True)
class ColouriseConfig:
    """Settings of `--task=colourise`; see docs/explanation/self-supervision.md for their sources."""

    colour_loss: Literal["l1", "bins"] = "l1"
    """absolute colour error with a perceptual term, or cross-entropy over 262 colours, weighted towards rare ones"""
    perceptual_strength: NotNegative = 1.0
    """weight of the perceptual term relative to the absolute error; 0: off"""
    perceptual_weights: Annotated[str | None, IsPath()] = None
    """safetensors file of torchvision's VGG-16 for the perceptual term; default: a fixed random network"""
    uniform_share: Annotated[float, Interval(ge=1e-3, le=1)] = 0.5
    """share of the uniform distribution that is mixed into the colour frequencies; 1 weights all colours equally"""
    decoding_temperature: Annotated[float, Interval(ge=1e-3, le=100)] = 0.38
    """temperature of the annealed mean that decodes one colour from the probabilities of 262"""

    @property
    def perceptual(self) -> bool:
        """Whether the loss has a perceptual term."""
        return self.colour_loss == "l1" and self.perceptual_strength > 0


class Views(NamedTuple):
    """One view of each picture in Lab: lightness in [0, 100], a and b."""

    lightness: Float[Array, "batch height width"]
    ab: Float[Array, "batch height width 2"]


@dataclass(frozen=True)
class Colourisation(Task):
    """`--task=colourise`: encoder, latent capsules, and a decoder to a and b or to a logit for each colour bin.

    Attributes:
        perceptual: frozen network for `--colour-loss=l1`; None if its strength is 0.
        bin_weights: weight of each bin for `--colour-loss=bins`, from the training pictures.
    """

    settings: ClassVar = ColouriseConfig
    layers: ClassVar = {"latent_capsules": "routing", "decoder": "decoder"}
    reported: ClassVar = (
        "train/colour_error",
        "train/perceptual",
        "train/colour_saturation",
        "validation/colour_error",
        "validation/colour_saturation",
    )
    reconstruction: ClassVar = ("colour_cross_entropy", "colour_error")
    transfers: ClassVar = {"latent_capsules": "class_capsules"}

    options: ColouriseConfig
    perceptual: PerceptualNetwork | None = None
    bin_weights: tuple[float, ...] | None = None

    @classmethod
    def check(cls, config: Config) -> None:
        if config.model.channels == 1:
            raise UserError("--channels=1: --task=colourise learns the colours of pictures; give --channels=3")
        options = config.options(ColouriseConfig)
        if options.perceptual_weights is not None and not options.perceptual:
            raise UserError(
                f"--perceptual-weights={options.perceptual_weights}: this run does not use them; drop the flag, "
                "or give --colour-loss=l1 and a --perceptual-strength above 0"
            )

    @classmethod
    def make(cls, config: Config, dataset: Dataset) -> Colourisation:
        import logging

        from jaxcaps.data.colours import bin_counts, check_colourful
        from jaxcaps.models.perceptual import random_network, read_vgg16

        options, train = config.options(ColouriseConfig), dataset.splits["train"]
        logging.getLogger("jaxcaps").info(check_colourful(train, config.data.data))
        perceptual, weights = None, None
        if options.colour_loss == "bins":
            found = functional.bin_weights(bin_counts(train), uniform_share=options.uniform_share)
            weights = tuple(found.tolist())
        elif options.perceptual:
            file = options.perceptual_weights
            perceptual = random_network() if file is None else read_vgg16(Path(file))
        return cls(config.model, config.augmentation, config.data.image_size, options, perceptual, weights)

    @classmethod
    def reads_files(cls, config: Config) -> bool:
        return config.options(ColouriseConfig).perceptual

    @classmethod
    def details(cls, config: Config) -> str:
        options = config.options(ColouriseConfig)
        if not options.perceptual:
            return ""
        weights = options.perceptual_weights
        return "perceptual network: " + ("a fixed random one" if weights is None else f"VGG-16 of {weights}")

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> TaskNetwork:
        model, size = self.model, self.image_size
        latent_capsules = models.routed_capsules(model.ssl_capsules, model, size, rngs)
        last: dict[str, Any] = (
            {"channels": len(functional.ab_bins().centres), "activation": jax.nn.identity, "features": BIN_FEATURES}
            if self.options.colour_loss == "bins"
            else {"channels": 2, "activation": jnp.tanh}
        )
        decoder = models.Decoder(model.ssl_capsules, model, size, rngs, gain=HEAD_GAIN, **last)
        return models.TaskNetwork(encoder, latent_capsules=latent_capsules, decoder=decoder)

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width 3"]) -> Views:
        lab = functional.lab_from_rgb(self.random_view(key, image))
        return Views(lab[..., 0], lab[..., 1:])

    def loss(
        self, modules: TaskNetwork, views: Views, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        encoded = modules.encoder(as_picture(views.lightness))
        latent = modules.latent_capsules(encoded.poses)
        made = modules.decoder(latent.poses, encoded.maps)
        valid = examples.valid
        metrics = {"coupling_entropy": shard.mean(jax.vmap(functional.coupling_entropy)(latent.couplings), valid)}
        if self.bin_weights is not None:
            weights = jnp.asarray(self.bin_weights, made.dtype)
            losses = jax.vmap(functional.rebalanced_cross_entropy, in_axes=(0, 0, None))(made, views.ab, weights)
            loss = metrics["colour_cross_entropy"] = shard.mean(losses, valid)
        else:
            errors = jnp.mean(jnp.abs(made - views.ab / AB_SCALE), axis=(1, 2, 3))
            loss = shard.mean(errors, valid)
            if self.perceptual is not None:
                features, target = (
                    self.perceptual(coloured(views.lightness, ab)) for ab in (AB_SCALE * made, views.ab)
                )
                metrics["perceptual"] = shard.mean(jax.vmap(functional.perceptual_loss)(features, target), valid)
                loss = loss + self.options.perceptual_strength * metrics["perceptual"]
        metrics |= self._colours(jax.lax.stop_gradient(made[:, ::STRIDE, ::STRIDE]), views, examples, shard)
        return loss, {"loss": loss, **metrics}

    def _colours(
        self, made: Float[Array, "batch h w channels"], views: Views, examples: Examples, shard: Shard
    ) -> dict[str, Float[Array, ""]]:
        """Computes two metrics that are the same for both losses, so that runs can be compared.

        colour_error is the mean absolute error of a and b divided by 110. colour_saturation is the mean chroma of the
        prediction divided by that of the pictures: 0 is grey, 1 is as colourful as the pictures.
        """
        made_ab, ab = self.decoded(made), views.ab[:, ::STRIDE, ::STRIDE]
        errors = jnp.mean(jnp.abs(made_ab - ab), axis=(1, 2, 3)) / AB_SCALE
        mine, theirs = (
            shard.mean(jnp.mean(jax.vmap(functional.chroma)(each), axis=(1, 2)), examples.valid)
            for each in (made_ab, ab)
        )
        saturation = mine / jnp.maximum(shard.total(theirs), LEAST_CHROMA)
        return {"colour_error": shard.mean(errors, examples.valid), "colour_saturation": saturation}

    def decoded(self, made: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width 2"]:
        """Decodes the output of the decoder to a and b."""
        if self.options.colour_loss == "l1":
            return AB_SCALE * made
        temperature = self.options.decoding_temperature
        return jax.vmap(lambda logits: functional.annealed_mean(logits, temperature=temperature))(made)

    def notes(self, batch_size: int) -> list[str]:
        if self.bin_weights is not None:
            least, most = min(self.bin_weights), max(self.bin_weights)
            return [
                f"Colours: {len(self.bin_weights)} bins, with weights from {least:.2g} (most frequent) to {most:.2g}"
            ]
        if self.perceptual is None:
            return ["Perceptual loss: off"]
        return [f"Perceptual loss: {self.perceptual.description}; relu2_2 and relu3_3"]

    def pictures(self, modules: TaskNetwork, images: UInt8[Array, "batch height width 3"]) -> dict[str, Array]:
        whole, seen, made, colours, made_colours = nnx.jit(self._columns)(modules, images)
        return {
            "picture": whole,
            "what the encoder sees": seen,
            "reconstruction": made,
            "its colours alone": colours,
            "reconstructed": made_colours,
        }

    def _columns(self, modules: TaskNetwork, images: UInt8[Array, "batch height width 3"]) -> tuple[Array, ...]:
        whole = whole_pictures(images, self.image_size)
        lab = jax.vmap(functional.lab_from_rgb)(whole)
        lightness, ab = lab[..., 0], lab[..., 1:]
        seen = as_picture(lightness)
        encoded = modules.encoder(seen)
        made = self.decoded(modules.decoder(modules.latent_capsules(encoded.poses).poses, encoded.maps))
        made, even = made.astype(ab.dtype), jnp.full_like(lightness, EVEN_LIGHTNESS)
        return whole, seen, coloured(lightness, made), coloured(even, ab), coloured(even, made)


def as_picture(lightness: Float[Array, "batch height width"]) -> Float[Array, "batch height width 3"]:
    """Lightness in [0, 1] as three equal channels, so that the first kernel keeps its shape."""
    return jnp.broadcast_to((lightness / 100)[..., None], (*lightness.shape, 3))


def coloured(
    lightness: Float[Array, "batch height width"], ab: Float[Array, "batch height width 2"]
) -> Float[Array, "batch height width 3"]:
    """Converts lightness and colours to pictures in [0, 1]."""
    return jax.vmap(functional.rgb_from_lab)(jnp.concatenate([lightness[..., None], ab], axis=-1))


TASK = Colourisation
