"""The interface of a task, and one device's share of a batch."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from jaxcaps.config import LAYER_GROUPS, AugmentationConfig, ModelConfig
from jaxcaps.lazy import functional, jax, jnp, lax, models, nnx

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

    from jaxcaps.data.dataset import Dataset
    from jaxcaps.models import Encoder
    from jaxcaps.plan.config import Config


class Examples(NamedTuple):
    """The examples of a batch, without their pictures.

    Attributes:
        label: class, -1 if unknown.
        group: equal for pictures of the same lesion or patient.
        source: index of the picture in its split, equal for repeated draws of a picture.
        valid: False for padding.
    """

    label: Int[Array, "batch"]
    group: Int[Array, "batch"]
    source: Int[Array, "batch"]
    valid: Bool[Array, "batch"]


@dataclass(frozen=True)
class Shard:
    """One device's share of the global batch, and the collective operations for losses.

    A loss that uses these operations has the same value and gradient for any number of devices. The engine sums the
    losses and gradients of all devices.

    Attributes:
        axis: the mesh axis over which the batch is sharded; None if the batch is not sharded.
    """

    axis: str | None = None

    def devices(self) -> int:
        return 1 if self.axis is None else lax.axis_size(self.axis)

    def mean(self, values: Float[Array, "batch"], valid: Bool[Array, "batch"]) -> Float[Array, ""]:
        """Returns this device's contribution to the mean over the valid examples of the global batch."""
        count = jnp.sum(valid.astype(values.dtype))
        if self.axis is not None:
            count = lax.psum(count, self.axis)
        return jnp.sum(jnp.where(valid, values, jnp.zeros_like(values))) / jnp.maximum(count, jnp.ones_like(count))

    def total(self, share: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the sum of all shares, for a ratio of two means. No gradient comes back from other devices."""
        return share if self.axis is None else lax.psum(lax.stop_gradient(share), self.axis)

    def gather(self, values: Array) -> Array:
        """Returns the rows of all devices in global batch order. Gradients flow only to this device's rows.

        A plain all-gather would send gradients back through a reduce-scatter. Every device computes the complete loss
        of the gathered rows (see `whole`), so it only needs the gradient of its own rows.
        """
        if self.axis is None:
            return values
        others = lax.all_gather(lax.stop_gradient(values), self.axis, tiled=True)
        start = lax.axis_index(self.axis) * values.shape[0]
        return lax.dynamic_update_slice_in_dim(others, values, start, axis=0)

    def whole(self, loss: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the share of a loss that every device computed from the gathered batch, with its full gradient."""
        devices = self.devices()
        return loss - lax.stop_gradient(loss) * ((devices - 1) / devices)

    def share(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """Returns this device's share of a value that does not depend on examples, and of its gradient."""
        return value / self.devices()


@dataclass(frozen=True)
class Task(ABC):
    """A task, as the engine, the diagnosis, the log and the figures use it.

    `--help` imports the file of every task, so tasks import JAX through `jaxcaps.lazy`.

    Attributes:
        settings: dataclass of the task's section of the configuration, which is named after the task; None for
            fine-tuning tasks, which use the section `classify`.
        layers: the layer group, one of `LAYER_GROUPS`, of each module or parameter other than the encoder.
        reported: metrics that the log shows in addition to the loss, with the prefix `train/` or `validation/`.
        reconstruction: candidates for the metric of reconstructions in the diagnosis: the first one that the loss
            reports is used. Empty if the task does not reconstruct.
        capsules: whether its network has capsules. Only such networks pre-train.
        decodes_pictures: whether its network may have a module `decoder` from the poses of the routed capsules to a
            picture.
        transfers: maps modules of the task to those of the classifier that `--transfer-latent` initialises from them.
        model, augmentation, image_size: from the configuration of the run.
    """

    settings: ClassVar[Any] = None
    layers: ClassVar[Mapping[str, str]] = {}
    reported: ClassVar[tuple[str, ...]] = ()
    reconstruction: ClassVar[tuple[str, ...]] = ()
    capsules: ClassVar[bool] = True
    decodes_pictures: ClassVar[bool] = False
    transfers: ClassVar[Mapping[str, str]] = {}

    model: ModelConfig
    augmentation: AugmentationConfig
    image_size: int

    @classmethod  # noqa: B027
    def check(cls, config: Config) -> None:
        """Checks the rules between the task's settings, and between them and the rest of the configuration.

        Raises:
            UserError: settings contradict each other.
        """

    @classmethod
    @abstractmethod
    def make(cls, config: Config, dataset: Dataset) -> Task:
        """Makes the task of a run. It may read the training pictures.

        Raises:
            UserError: the data does not suit the task.
        """

    @classmethod
    def reads_files(cls, config: Config) -> bool:
        """Whether the run reads the files that the task's settings name."""
        return True

    @classmethod
    def details(cls, config: Config) -> str:
        """Returns what a study's report adds to the description of an arm with this task; often empty."""
        return ""

    @classmethod
    def group_of(cls, path: str) -> str:
        """Returns the layer group of a parameter.

        Raises:
            ValueError: the task declares no layer group for it, or one that does not exist.
        """
        module, _, rest = path.partition("/")
        group = rest.partition("/")[0] if module == "encoder" else cls.layers.get(module)
        if group not in LAYER_GROUPS:
            raise ValueError(
                f"{cls.__name__}.layers has the layer group {group!r} for the module {module!r}; expected one of "
                f"{', '.join(LAYER_GROUPS)}"
            )
        return group

    @classmethod
    def layer_of(cls, path: str) -> str:
        """Returns `stem/0` and so on for the stages of the stem, and the layer group for other parameters."""
        return "/".join(path.split("/")[1:3]) if path.startswith("encoder/stem/") else cls.group_of(path)

    def notes(self, batch_size: int) -> list[str]:
        """Returns sentences for the log at the start of a run."""
        return []

    @abstractmethod
    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> nnx.Module:
        """Makes the network to train: the encoder and the modules that the task adds."""

    @abstractmethod
    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width channels"]) -> Any:
        """Makes the loss's input from one stored picture, such as augmented or masked views."""

    @abstractmethod
    def loss(
        self, modules: Any, views: Any, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Returns this device's share of the loss and of the metrics to log. The engine sums the shares of all devices.

        `views` has a leading batch axis; `progress` in [0, 1] is the fraction of training done.
        """

    def pictures(self, modules: Any, images: UInt8[Array, "batch height width channels"]) -> dict[str, Array]:
        """Makes the columns of a figure from stored pictures.

        Returns {title: [batch, height, width, channels] in [0, 1]}; empty if the network makes no pictures.
        """
        return {}

    def random_view(self, key: PRNGKeyArray, image: UInt8[Array, "height width channels"]) -> Array:
        """Augments a picture, stored at a multiple of the size, to [size, size, channels] in [0, 1]."""
        picture = image.astype(models.dtypes(self.model).parameters) / 255
        settings = dataclasses.asdict(self.augmentation)
        view: Array = functional.AUGMENTATIONS[settings.pop("augmentation")](
            key, picture, size=self.image_size, **settings
        )
        return view


def whole_pictures(
    images: UInt8[Array, "batch height width channels"], size: int
) -> Float[Array, "batch size size channels"]:
    """Returns pictures without augmentation, float32 in [0, 1]."""
    return jax.vmap(functional.shrink, in_axes=(0, None))(images.astype(jnp.float32) / 255, size)
