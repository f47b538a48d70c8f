"""Contrastive learning of two views (NT-Xent) together with in-painting of their masked regions.

This is the "dual-stage" self-supervision of the study (El-Shimy et al. 2025): the contrast follows Chen et al. 2020,
the in-painting Pathak et al. 2016. The encoder sees only the masked views. As an addition to the study, some primary
capsules can be hidden from the latent capsules, which then have to predict them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Ge, Interval

from data_prep.bounds import NotNegative, Share
from jaxcaps.errors import UserError
from jaxcaps.lazy import functional, jax, jnp, lax, models, nnx
from jaxcaps.tasks.base import Examples, Shard, Task, whole_pictures

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

    from jaxcaps.data.dataset import Dataset
    from jaxcaps.functional import Routed
    from jaxcaps.models import Encoded, Encoder, TaskNetwork
    from jaxcaps.plan.config import Config

# Hidden pixels are mid-grey, which is 0 at the encoder's input.
FILL = 0.5


@dataclass(frozen=True)
class InpaintConfig:
    """Settings of `--task=inpaint`. Values that the study does not state are our choice."""

    contrast_weight: NotNegative = 1.0
    """weight of NT-Xent; 0: off"""
    inpaint_weight: NotNegative = 10.0
    """weight of the reconstruction of hidden regions; 0: off"""
    ssl_stages: Literal["joint", "contrast-then-inpaint"] = "joint"
    """both terms together, or contrast for the first half of the run and in-painting for the second"""
    loss_weighting: Literal["fixed", "uncertainty"] = "fixed"
    """fixed weights of the terms, or weights learned with the network from these values (Kendall et al. 2018)"""
    temperature: Annotated[float, Ge(1e-4)] = 0.2
    """temperature of NT-Xent"""
    contrast_on: Literal["latent", "primary"] = "latent"
    """capsules that NT-Xent compares"""
    projection_input: Literal["poses", "activations"] = "poses"
    """input of the projection head"""
    projection_hidden: Annotated[int, Interval(ge=1, le=2**20)] = 128
    """hidden width of the projection head"""
    projection_dim: Annotated[int, Interval(ge=1, le=2**20)] = 64
    """dimension of the embeddings that NT-Xent compares"""
    mask: Literal["blocks", "free-form", "central"] = "blocks"
    """shape of the masks: random blocks, random strokes, or the central quarter"""
    mask_fraction: Annotated[float, Interval(ge=0.01, le=0.9)] = 0.25
    """share of the image that random blocks or strokes hide"""
    masked_views: Literal["both", "one", "none"] = "both"
    """mask both views of an image, or only the first, which is then in-painted; none: contrast only"""
    visible_share: Share = 0.1
    """share of the in-painting loss on visible pixels"""
    reconstruction: Literal["l1", "l2"] = "l1"
    """absolute or squared error"""
    hidden_capsules: Annotated[float, Interval(ge=0, le=0.9)] = 0.0
    """share of grid positions whose primary capsules are hidden from the latent capsules"""
    capsule_weight: NotNegative = 0.0
    """weight of predicting the poses of hidden primary capsules from the latent capsules; 0: off"""


class Views(NamedTuple):
    """Two views of each picture: `image` unmasked, `mask` True for pixels hidden from the encoder, `hidden` True for
    primary capsules hidden from the latent capsules (None if no capsules are hidden)."""

    image: Float[Array, "batch 2 height width channels"]
    mask: Bool[Array, "batch 2 height width"]
    hidden: Bool[Array, "batch 2 capsules"] | None = None


@dataclass(frozen=True)
class ContrastAndInpainting(Task):
    """`--task=inpaint`. A loss term with weight 0 is left out, with its head and its metrics."""

    settings: ClassVar = InpaintConfig
    layers: ClassVar = {
        "latent_capsules": "routing",
        "projection": "head",
        "decoder": "decoder",
        "term_weights": "head",
        "predictor": "head",
    }
    reported: ClassVar = ("train/nt_xent", "train/inpainting", "validation/inpainting")
    reconstruction: ClassVar = ("inpainting",)
    decodes_pictures: ClassVar = True
    transfers: ClassVar = {"latent_capsules": "class_capsules"}

    options: InpaintConfig

    @classmethod
    def check(cls, config: Config) -> None:
        options = config.options(InpaintConfig)
        if not (options.contrast_weight or options.inpaint_weight):
            problem = "--contrast-weight=0 and --inpaint-weight=0 leave no loss; give one of them a weight"
            if options.capsule_weight:
                problem += "; with --capsule-weight alone, all capsules would collapse to the same pose"
            raise UserError(problem)
        if options.masked_views == "none" and options.inpaint_weight:
            raise UserError(
                f"--masked-views=none hides nothing, so --inpaint-weight={options.inpaint_weight:g} has nothing to "
                "in-paint; give --inpaint-weight=0 for contrast alone, or --masked-views=one"
            )
        if options.capsule_weight and not options.hidden_capsules:
            raise UserError(
                f"--capsule-weight={options.capsule_weight:g}: no capsules are hidden; give --hidden-capsules=0.5"
            )
        if options.hidden_capsules:
            cls._check_hidden(config, options)
        if options.loss_weighting == "uncertainty" and not (options.contrast_weight and options.inpaint_weight):
            raise UserError("--loss-weighting=uncertainty balances contrast and in-painting; give both a weight")
        if options.loss_weighting == "uncertainty" and options.ssl_stages != "joint":
            raise UserError(
                "--loss-weighting=uncertainty balances terms that are trained together, but "
                f"--ssl-stages={options.ssl_stages} trains one after the other; give --ssl-stages=joint"
            )

    @classmethod
    def _check_hidden(cls, config: Config, options: InpaintConfig) -> None:
        latent_contrast = options.contrast_weight and options.contrast_on == "latent"
        if not (options.inpaint_weight or options.capsule_weight or latent_contrast):
            raise UserError(
                f"--hidden-capsules={options.hidden_capsules:g}: no loss uses the latent capsules that they are "
                "hidden from; give --capsule-weight=1, an --inpaint-weight, or --contrast-on=latent"
            )
        places = models.geometry(config.model, config.data.image_size).grid ** 2
        count = round(options.hidden_capsules * places)
        if not 0 < count < places:
            raise UserError(
                f"--hidden-capsules={options.hidden_capsules:g} of {places} positions rounds to {count}; choose a "
                "share that hides at least one and leaves one"
            )

    @classmethod
    def make(cls, config: Config, dataset: Dataset) -> ContrastAndInpainting:
        return cls(config.model, config.augmentation, config.data.image_size, config.options(InpaintConfig))

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> TaskNetwork:
        """Makes the encoder, the latent capsules, and the heads of all terms with a weight."""
        model, options, size = self.model, self.options, self.image_size
        latent_capsules = models.routed_capsules(model.ssl_capsules, model, size, rngs)
        if options.contrast_on == "latent":
            capsules, dim = model.ssl_capsules, model.capsule_dim
        else:
            capsules, dim = models.primary_capsules(model, size), model.primary_dim
        flattened = capsules * (dim if options.projection_input == "poses" else 1)
        widths = (options.projection_hidden, options.projection_dim)
        latent = model.ssl_capsules * model.capsule_dim
        primary = models.primary_capsules(model, size) * model.primary_dim
        return models.TaskNetwork(
            encoder,
            latent_capsules=latent_capsules,
            projection=models.ProjectionHead(flattened, *widths, model, rngs) if options.contrast_weight else None,
            decoder=models.Decoder(model.ssl_capsules, model, size, rngs) if options.inpaint_weight else None,
            term_weights=models.TermWeights(model) if options.loss_weighting == "uncertainty" else None,
            predictor=models.linear(latent, primary, model, rngs) if options.capsule_weight else None,
        )

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width channels"]) -> Views:
        def view(key: PRNGKeyArray, masked: Array) -> Views:
            mask, hidden = self._masks(key)
            return Views(self.random_view(jax.random.split(key)[0], image), mask & masked, hidden)

        masked = jnp.array([self.options.masked_views != "none", self.options.masked_views == "both"])
        views: Views = jax.vmap(view)(jax.random.split(key), masked)
        return views

    def _masks(self, key: PRNGKeyArray) -> tuple[Bool[Array, "height width"], Bool[Array, "capsules"] | None]:
        """Draws the masked pixels and the hidden capsules of a view."""
        return self._mask(jax.random.split(key)[1]), self._hidden(key)

    def _hidden(self, key: PRNGKeyArray) -> Bool[Array, "capsules"] | None:
        """Chooses the hidden capsules: all types at a position, because they predict each other."""
        if not self.options.hidden_capsules:
            return None
        places = models.geometry(self.model, self.image_size).grid ** 2
        # A separate key, so that views and masks are the same with and without hidden capsules.
        hidden = functional.place_mask(jax.random.fold_in(key, 7), places, fraction=self.options.hidden_capsules)
        # Capsules are ordered by position, then type.
        return jnp.repeat(hidden, self.model.primary_types)

    def _mask(self, key: PRNGKeyArray) -> Bool[Array, "height width"]:
        if self.options.mask == "central":
            return functional.central_mask(self.image_size, self.image_size)
        draw = functional.free_form_mask if self.options.mask == "free-form" else functional.block_mask
        return draw(key, self.image_size, self.image_size, fraction=self.options.mask_fraction)

    def loss(
        self,
        modules: TaskNetwork,
        views: Views,
        examples: Examples,
        progress: Float[Array, ""],
        shard: Shard,
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        batch = examples.valid.shape[0]
        # All first views, then all second views: both halves of the embeddings are in the order of the examples.
        image, mask, hidden = jax.tree.map(lambda each: jnp.concatenate([each[:, 0], each[:, 1]]), views)
        valid = jnp.concatenate([examples.valid, examples.valid])
        encoded = modules.encoder(jax.vmap(functional.hide, in_axes=(0, 0, None))(image, mask, FILL))
        latent = modules.latent_capsules(shown(encoded.poses, hidden))

        metrics = {"coupling_entropy": shard.mean(jax.vmap(functional.coupling_entropy)(latent.couplings), valid)}
        contrast_weight, inpaint_weight = self.weights(progress)
        loss = jnp.zeros_like(progress)
        if modules.term_weights is not None:
            factors, penalty = modules.term_weights()
            contrast_weight, inpaint_weight = contrast_weight * factors[0], inpaint_weight * factors[1]
            metrics |= {"contrast_weight": shard.share(contrast_weight), "inpaint_weight": shard.share(inpaint_weight)}
            loss = shard.share(penalty)
        if modules.projection is not None:
            embeddings = functional.at_least_float32(modules.projection(self._compared(encoded, latent)))
            contrast = shard.whole(
                functional.nt_xent(
                    shard.gather(embeddings[:batch]),
                    shard.gather(embeddings[batch:]),
                    temperature=self.options.temperature,
                    groups=shard.gather(examples.group),
                    sources=shard.gather(examples.source),
                    valid=shard.gather(examples.valid),
                )
            )
            metrics["nt_xent"] = contrast
            loss = loss + contrast_weight * contrast
        if modules.predictor is not None:
            predicted = modules.predictor(latent.poses.reshape(2 * batch, -1)).reshape(encoded.poses.shape)
            # No gradient to the targets, or they would collapse to a constant.
            distances = jax.vmap(functional.hidden_pose_loss)(predicted, lax.stop_gradient(encoded.poses), hidden)
            metrics["capsule_prediction"] = shard.mean(distances, valid)
            loss = loss + self.options.capsule_weight * metrics["capsule_prediction"]
        if modules.decoder is not None:
            # The masked views come first.
            count = 2 * batch if self.options.masked_views == "both" else batch
            image, mask, valid = image[:count], mask[:count], valid[:count]
            pictures = modules.decoder(latent.poses[:count], tuple(each[:count] for each in encoded.maps))
            error = functional.masked_l1 if self.options.reconstruction == "l1" else functional.masked_l2
            errors = jax.vmap(lambda p, t, m: error(p, t, m, visible_share=self.options.visible_share))(
                pictures, image.astype(pictures.dtype), mask
            )
            inpainting = shard.mean(errors, valid)
            metrics["inpainting"] = inpainting
            loss = loss + inpaint_weight * inpainting
        return loss, {"loss": loss, **metrics}

    def _compared(self, encoded: Encoded, latent: Routed) -> Float[Array, "batch ..."]:
        """Returns the input of the projection head."""
        if self.options.contrast_on == "latent":
            return latent.poses if self.options.projection_input == "poses" else latent.activations
        return encoded.poses if self.options.projection_input == "poses" else functional.safe_norm(encoded.poses)

    def weights(self, progress: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Returns the weights of the terms at this progress of training, without learned factors."""
        contrast = jnp.full_like(progress, self.options.contrast_weight)
        inpaint = jnp.full_like(progress, self.options.inpaint_weight)
        if self.options.ssl_stages == "contrast-then-inpaint":
            first = progress < 0.5
            zero = jnp.zeros_like(progress)
            return jnp.where(first, contrast, zero), jnp.where(first, zero, inpaint)
        return contrast, inpaint

    def notes(self, batch_size: int) -> list[str]:
        if not self.options.contrast_weight:
            return []
        return [f"NT-Xent: at most {2 * batch_size - 2} negatives per anchor; gradient accumulation adds none"]

    def pictures(self, modules: TaskNetwork, images: UInt8[Array, "batch height width channels"]) -> dict[str, Array]:
        if modules.decoder is None:
            return {}
        whole, masked, made, filled = nnx.jit(self._columns)(modules, images)
        return {"picture": whole, "what the encoder sees": masked, "reconstruction": made, "in-painted": filled}

    def _columns(self, modules: TaskNetwork, images: UInt8[Array, "batch height width channels"]) -> tuple[Array, ...]:
        # As of the first view, whose key is the first of two.
        keys = jax.vmap(lambda key: jax.random.split(key)[0])(jax.random.split(jax.random.key(0), len(images)))
        mask, hidden = jax.vmap(self._masks)(keys)
        whole, mask = whole_pictures(images, self.image_size), mask & (self.options.masked_views != "none")
        masked, made = self.inpainted(modules, whole, mask, hidden)
        return whole, masked, made, jnp.where(mask[..., None], made, whole.astype(made.dtype))

    def inpainted(
        self,
        modules: TaskNetwork,
        image: Float[Array, "batch height width channels"],
        mask: Bool[Array, "batch height width"],
        hidden: Bool[Array, "batch capsules"] | None,
    ) -> tuple[Array, Array]:
        """Returns masked pictures and their reconstructions, for a figure."""
        masked = jax.vmap(functional.hide, in_axes=(0, 0, None))(image, mask, FILL)
        encoded = modules.encoder(masked)
        assert modules.decoder is not None
        latent = modules.latent_capsules(shown(encoded.poses, hidden))
        return masked, modules.decoder(latent.poses, encoded.maps)


def shown(
    poses: Float[Array, "batch capsules dim"], hidden: Bool[Array, "batch capsules"] | None
) -> Float[Array, "batch capsules dim"]:
    """Returns the poses of the primary capsules with hidden ones set to zero."""
    return poses if hidden is None else jnp.where(hidden[..., None], jnp.zeros_like(poses), poses)


TASK = ContrastAndInpainting
