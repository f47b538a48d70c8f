"""Contrast of two views (NT-Xent) together with in-painting of what masks hide from them.

The study's "dual-stage" self-supervision (El-Shimy et al. 2025): Chen et al. 2020 for the contrast, Pathak et al.
2016 for the in-painting. The encoder sees the masked views alone. Beyond the study, some of the primary capsules may be
hidden from the latent ones, which then have to predict them.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from jaxcaps.config import AugmentationConfig, InpaintConfig, ModelConfig
from jaxcaps.functional import (
    at_least_float32,
    block_mask,
    central_mask,
    coupling_entropy,
    free_form_mask,
    hidden_pose_loss,
    hide,
    masked_l1,
    masked_l2,
    nt_xent,
    place_mask,
    safe_norm,
)
from jaxcaps.functional.capsules import Routed
from jaxcaps.models import ClassCapsules, Decoder, Encoded, Encoder
from jaxcaps.models.capsnet import dtypes
from jaxcaps.models.geometry import geometry, primary_capsules
from jaxcaps.tasks.base import Examples, Shard, random_view, whole_pictures

# Hidden pixels are mid-grey: 0 at the encoder's input, and no picture's border.
FILL = 0.5


class Views(NamedTuple):
    """Two views of each picture: `image` whole, `mask` True where hidden from the encoder, `hidden` True for primary
    capsules hidden from the latent ones (None where none is)."""

    image: Float[Array, "batch 2 height width 3"]
    mask: Bool[Array, "batch 2 height width"]
    hidden: Bool[Array, "batch 2 capsules"] | None = None


class ProjectionHead(nnx.Module):
    """Two layers from the flattened capsules to the embeddings NT-Xent compares (Chen et al. 2020, section 2)."""

    def __init__(self, in_features: int, inpaint: InpaintConfig, model: ModelConfig, rngs: nnx.Rngs):
        dtype, param_dtype = dtypes(model)
        self.hidden = nnx.Linear(
            in_features, inpaint.projection_hidden, dtype=dtype, param_dtype=param_dtype, rngs=rngs
        )
        self.out = nnx.Linear(
            inpaint.projection_hidden, inpaint.projection_dim, dtype=dtype, param_dtype=param_dtype, rngs=rngs
        )

    def __call__(self, capsules: Float[Array, "batch ..."]) -> Float[Array, "batch embedding"]:
        return self.out(nnx.relu(self.hidden(capsules.reshape(capsules.shape[0], -1))))


class TermWeights(nnx.Module):
    """Factors of the two terms' weights, 1 at first, learnt as the terms' uncertainties (Kendall et al. 2018).

    A term's uncertainty is exp(s), its factor exp(-s); s is added to the loss, or all factors would go to 0.
    """

    def __init__(self, model: ModelConfig):
        self.log_uncertainty = nnx.Param(jnp.zeros(2, dtypes(model).parameters))

    def __call__(self) -> tuple[Float[Array, "2"], Float[Array, ""]]:
        """The factors, and what is added to the loss."""
        return jnp.exp(-self.log_uncertainty[...]), jnp.sum(self.log_uncertainty[...])


class PretrainingNetwork(nnx.Module):
    """Encoder, latent capsules, and the heads that the weights switch on."""

    def __init__(self, encoder: Encoder, model: ModelConfig, inpaint: InpaintConfig, image_size: int, rngs: nnx.Rngs):
        self.encoder = encoder
        self.latent_capsules = ClassCapsules(model.ssl_capsules, model, image_size, rngs)
        if inpaint.contrast_on == "latent":
            capsules, dim = model.ssl_capsules, model.capsule_dim
        else:
            capsules, dim = primary_capsules(model, image_size), model.primary_dim
        flattened = capsules * (dim if inpaint.projection_input == "poses" else 1)
        self.projection = ProjectionHead(flattened, inpaint, model, rngs) if inpaint.contrast_weight else None
        self.decoder = Decoder(model.ssl_capsules, model, image_size, rngs) if inpaint.inpaint_weight else None
        self.term_weights = TermWeights(model) if inpaint.loss_weighting == "uncertainty" else None
        self.predictor = _predictor(model, image_size, rngs) if inpaint.capsule_weight else None


def _shown(
    poses: Float[Array, "batch capsules dim"], hidden: Bool[Array, "batch capsules"] | None
) -> Float[Array, "batch capsules dim"]:
    """The primary capsules' poses with the hidden ones at zero."""
    return poses if hidden is None else jnp.where(hidden[..., None], jnp.zeros_like(poses), poses)


def _predictor(model: ModelConfig, image_size: int, rngs: nnx.Rngs) -> nnx.Linear:
    """From the flattened latent poses to those of all primary capsules."""
    dtype, param_dtype = dtypes(model)
    return nnx.Linear(
        model.ssl_capsules * model.capsule_dim,
        primary_capsules(model, image_size) * model.primary_dim,
        dtype=dtype,
        param_dtype=param_dtype,
        rngs=rngs,
    )


@dataclass(frozen=True)
class Inpaint:
    """`--task=inpaint`. With a weight of 0 a term, its head and its metrics are absent."""

    reported: ClassVar[tuple[str, ...]] = ("train/nt_xent", "train/inpainting", "validation/inpainting")

    model: ModelConfig
    inpaint: InpaintConfig
    augmentation: AugmentationConfig
    image_size: int

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> PretrainingNetwork:
        return PretrainingNetwork(encoder, self.model, self.inpaint, self.image_size, rngs)

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width 3"]) -> Views:
        def view(key: PRNGKeyArray, masked: Array) -> Views:
            augment_key, mask_key = jax.random.split(key)
            shown = random_view(augment_key, image, self.augmentation, self.image_size, dtypes(self.model).parameters)
            return Views(shown, self._mask(mask_key) & masked, self._hidden(key))

        masked = jnp.array([self.inpaint.masked_views != "none", self.inpaint.masked_views == "both"])
        views: Views = jax.vmap(view)(jax.random.split(key), masked)
        return views

    def _hidden(self, key: PRNGKeyArray) -> Bool[Array, "capsules"] | None:
        """Capsules are ordered by place, then type: whole places are hidden, as a neighbour's types tell much."""
        if not self.inpaint.hidden_capsules:
            return None
        places = geometry(self.model, self.image_size).grid ** 2
        # Beside the keys of the view and its mask, which are the same without.
        hidden = place_mask(jax.random.fold_in(key, 7), places, fraction=self.inpaint.hidden_capsules)
        return jnp.repeat(hidden, self.model.primary_types)

    def _mask(self, key: PRNGKeyArray) -> Bool[Array, "height width"]:
        if self.inpaint.mask == "central":
            return central_mask(self.image_size, self.image_size)
        draw = free_form_mask if self.inpaint.mask == "free-form" else block_mask
        return draw(key, self.image_size, self.image_size, fraction=self.inpaint.mask_fraction)

    def loss(
        self,
        modules: PretrainingNetwork,
        views: Views,
        examples: Examples,
        progress: Float[Array, ""],
        shard: Shard,
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        batch = examples.valid.shape[0]
        # First views, then second views: the embeddings split in two, and each pair keeps its example's number.
        image, mask, hidden = jax.tree.map(lambda each: jnp.concatenate([each[:, 0], each[:, 1]]), views)
        valid = jnp.concatenate([examples.valid, examples.valid])
        encoded = modules.encoder(jax.vmap(hide, in_axes=(0, 0, None))(image, mask, FILL))
        latent = modules.latent_capsules(_shown(encoded.poses, hidden))

        metrics = {"coupling_entropy": shard.mean(jax.vmap(coupling_entropy)(latent.couplings), valid)}
        contrast_weight, inpaint_weight = self.weights(progress)
        loss = jnp.zeros_like(progress)
        if modules.term_weights is not None:
            factors, penalty = modules.term_weights()
            contrast_weight, inpaint_weight = contrast_weight * factors[0], inpaint_weight * factors[1]
            metrics |= {"contrast_weight": shard.share(contrast_weight), "inpaint_weight": shard.share(inpaint_weight)}
            loss = shard.share(penalty)
        if modules.projection is not None:
            embeddings = at_least_float32(modules.projection(self._compared(encoded, latent)))
            contrast = shard.whole(
                nt_xent(
                    shard.gather(embeddings[:batch]),
                    shard.gather(embeddings[batch:]),
                    temperature=self.inpaint.temperature,
                    groups=shard.gather(examples.group),
                    sources=shard.gather(examples.source),
                    valid=shard.gather(examples.valid),
                )
            )
            metrics["nt_xent"] = contrast
            loss = loss + contrast_weight * contrast
        if modules.predictor is not None:
            predicted = modules.predictor(latent.poses.reshape(2 * batch, -1)).reshape(encoded.poses.shape)
            # The prediction learns, not what is predicted, which would become all alike.
            distances = jax.vmap(hidden_pose_loss)(predicted, lax.stop_gradient(encoded.poses), hidden)
            metrics["capsule_prediction"] = shard.mean(distances, valid)
            loss = loss + self.inpaint.capsule_weight * metrics["capsule_prediction"]
        if modules.decoder is not None:
            # The masked views come first.
            count = 2 * batch if self.inpaint.masked_views == "both" else batch
            image, mask, valid = image[:count], mask[:count], valid[:count]
            pictures = modules.decoder(latent.poses[:count], tuple(each[:count] for each in encoded.maps))
            error = masked_l1 if self.inpaint.reconstruction == "l1" else masked_l2
            errors = jax.vmap(lambda p, t, m: error(p, t, m, visible_share=self.inpaint.visible_share))(
                pictures, image.astype(pictures.dtype), mask
            )
            inpainting = shard.mean(errors, valid)
            metrics["inpainting"] = inpainting
            loss = loss + inpaint_weight * inpainting
        return loss, {"loss": loss, **metrics}

    def _compared(self, encoded: Encoded, latent: Routed) -> Float[Array, "batch ..."]:
        """What the projection head reads."""
        if self.inpaint.contrast_on == "latent":
            return latent.poses if self.inpaint.projection_input == "poses" else latent.activations
        return encoded.poses if self.inpaint.projection_input == "poses" else safe_norm(encoded.poses)

    def weights(self, progress: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The terms' weights at a moment of training, before any factors that are learnt."""
        contrast = jnp.full_like(progress, self.inpaint.contrast_weight)
        inpaint = jnp.full_like(progress, self.inpaint.inpaint_weight)
        if self.inpaint.ssl_stages == "contrast-then-inpaint":
            first = progress < 0.5
            zero = jnp.zeros_like(progress)
            return jnp.where(first, contrast, zero), jnp.where(first, zero, inpaint)
        return contrast, inpaint

    def notes(self, batch_size: int) -> list[str]:
        if not self.inpaint.contrast_weight:
            return []
        return [f"NT-Xent: {2 * batch_size - 2} negatives per anchor at most; accumulation adds none"]

    def pictures(self, modules: PretrainingNetwork, images: UInt8[Array, "batch height width 3"]) -> dict[str, Array]:
        if modules.decoder is None:
            return {}
        views = jax.jit(jax.vmap(self.views))(jax.random.split(jax.random.key(0), len(images)), images)
        whole, mask = whole_pictures(images, self.image_size), views.mask[:, 0]
        masked, made = nnx.jit(self.inpainted)(
            modules, whole, mask, None if views.hidden is None else views.hidden[:, 0]
        )
        filled = jnp.where(mask[..., None], made, whole.astype(made.dtype))
        return {"picture": whole, "what the encoder sees": masked, "reconstruction": made, "in-painted": filled}

    def inpainted(
        self,
        modules: PretrainingNetwork,
        image: Float[Array, "batch height width 3"],
        mask: Bool[Array, "batch height width"],
        hidden: Bool[Array, "batch capsules"] | None,
    ) -> tuple[Array, Array]:
        """The masked pictures and what the network makes of them, for a figure."""
        masked = jax.vmap(hide, in_axes=(0, 0, None))(image, mask, FILL)
        encoded = modules.encoder(masked)
        assert modules.decoder is not None
        latent = modules.latent_capsules(_shown(encoded.poses, hidden))
        return masked, modules.decoder(latent.poses, encoded.maps)
