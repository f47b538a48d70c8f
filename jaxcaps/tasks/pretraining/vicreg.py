"""Variance, invariance and covariance of two views' embeddings (VICReg; Bardes, Ponce and LeCun 2022).

Two views of a picture should have the same embedding. Unlike contrastive learning, it needs no negatives to prevent
collapse. Two regularisers keep the variance of each dimension over the batch high and decorrelate the dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Interval

from data_prep.bounds import NotNegative
from jaxcaps.errors import UserError
from jaxcaps.lazy import functional, jax, jnp, models, nnx
from jaxcaps.tasks.base import Examples, Shard, Task

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

    from jaxcaps.data.dataset import Dataset
    from jaxcaps.models import Encoder, TaskNetwork
    from jaxcaps.plan.config import Config

# The paper's gamma, the target standard deviation of each dimension, and the epsilon under the square root.
DEVIATION, EPSILON = 1.0, 1e-4


@dataclass(frozen=True)
class VicregConfig:
    """Settings of `--task=vicreg`. The weights are from section 4.2 of the paper; the expander is smaller."""

    invariance_weight: NotNegative = 25.0
    """weight of the squared distance between the embeddings of two views"""
    variance_weight: NotNegative = 25.0
    """weight of the hinge loss that keeps the standard deviation of each dimension above 1"""
    covariance_weight: NotNegative = 1.0
    """weight of the squared covariances between dimensions"""
    vicreg_input: Literal["flattened", "pooled"] = "flattened"
    """input of the expander: all primary poses, or their mean over positions for each type"""
    expander_hidden: Annotated[int, Interval(ge=1, le=2**20)] = 256
    """hidden width of the expander"""
    expander_dim: Annotated[int, Interval(ge=2, le=2**20)] = 256
    """dimension of the embeddings"""


class Terms(NamedTuple):
    """The three terms of the loss, unweighted."""

    invariance: Float[Array, ""]
    variance: Float[Array, ""]
    covariance: Float[Array, ""]


class Views(NamedTuple):
    image: Float[Array, "batch 2 height width channels"]


def vicreg_terms(
    first: Float[Array, "batch dim"], second: Float[Array, "batch dim"], valid: Bool[Array, "batch"]
) -> Terms:
    """Computes the terms of VICReg (Bardes et al. 2022, equations 1 to 5).

    Args:
        first, second: embeddings of two views of each picture, at least float32. At least two pictures must be valid.
        valid: False for padding, which is ignored.

    Returns:
        invariance: the squared distance of a pair, averaged over pictures.
        variance: max(0, 1 - sqrt(variance + 1e-4)), averaged over dimensions and views.
        covariance: the sum of squared covariances between dimensions, divided by the number of dimensions and summed
            over both views.
    """
    weights = valid.astype(first.dtype)[:, None]
    count = jnp.sum(weights)

    def regularisers(embeddings: Array) -> tuple[Array, Array]:
        centred = weights * (embeddings - jnp.sum(weights * embeddings, axis=0, keepdims=True) / count)
        covariance = jnp.matmul(centred.T, centred, precision="highest") / jnp.maximum(count - 1, 1)
        variances = jnp.diagonal(covariance)
        hinge = jnp.mean(jax.nn.relu(DEVIATION - jnp.sqrt(variances + EPSILON)))
        return hinge, (jnp.sum(jnp.square(covariance)) - jnp.sum(jnp.square(variances))) / embeddings.shape[1]

    (hinge, covariance), (other_hinge, other_covariance) = regularisers(first), regularisers(second)
    invariance = jnp.sum(weights * jnp.square(first - second)) / count
    return Terms(invariance, (hinge + other_hinge) / 2, covariance + other_covariance)


@dataclass(frozen=True)
class Vicreg(Task):
    """`--task=vicreg`: encoder and expander. It has no latent capsules and trains the primary capsules."""

    settings: ClassVar = VicregConfig
    layers: ClassVar = {"expander": "head"}
    reported: ClassVar = ("train/invariance", "train/variance", "train/covariance", "validation/invariance")

    options: VicregConfig

    @classmethod
    def check(cls, config: Config) -> None:
        options = config.options(VicregConfig)
        if not (options.invariance_weight and options.variance_weight):
            raise UserError(
                f"--invariance-weight={options.invariance_weight:g} --variance-weight={options.variance_weight:g}: "
                "without the first, nothing is learned from the views; without the second, all embeddings collapse; "
                "give both a weight"
            )
        if config.training.batch_size < 2:
            raise UserError("--batch-size=1: --task=vicreg measures variances over a batch; give at least 2")

    @classmethod
    def make(cls, config: Config, dataset: Dataset) -> Vicreg:
        return cls(config.model, config.augmentation, config.data.image_size, config.options(VicregConfig))

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> TaskNetwork:
        model, options = self.model, self.options
        capsules = (
            model.primary_types if options.vicreg_input == "pooled" else models.primary_capsules(model, self.image_size)
        )
        widths = (capsules * model.primary_dim, options.expander_hidden, options.expander_dim)
        return models.TaskNetwork(encoder, expander=models.ProjectionHead(*widths, model, rngs, bias=False))

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width channels"]) -> Views:
        return Views(jax.vmap(lambda each: self.random_view(each, image))(jax.random.split(key)))

    def loss(
        self, modules: TaskNetwork, views: Views, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        batch = examples.valid.shape[0]
        poses = modules.encoder(jnp.concatenate([views.image[:, 0], views.image[:, 1]])).poses
        if self.options.vicreg_input == "pooled":
            # Capsules are ordered by position, then type.
            poses = jnp.mean(poses.reshape(2 * batch, -1, self.model.primary_types, self.model.primary_dim), axis=1)
        embeddings = functional.at_least_float32(modules.expander(poses))
        terms = vicreg_terms(
            shard.gather(embeddings[:batch]), shard.gather(embeddings[batch:]), shard.gather(examples.valid)
        )
        shares = Terms(*(shard.whole(term) for term in terms))
        options = self.options
        loss = (
            options.invariance_weight * shares.invariance
            + options.variance_weight * shares.variance
            + options.covariance_weight * shares.covariance
        )
        return loss, {"loss": loss, **shares._asdict()}


TASK = Vicreg
