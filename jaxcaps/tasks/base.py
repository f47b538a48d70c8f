"""What the training engine knows of a task, and one device's share of a batch."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from jaxcaps.config import AugmentationConfig, ModelConfig
from jaxcaps.lazy import functional, jax, jnp, lax, nnx

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

    from jaxcaps.data.dataset import Dataset
    from jaxcaps.models import Encoder
    from jaxcaps.plan.config import Config


class Examples(NamedTuple):
    """What a batch says of its examples beside their pictures.

    Attributes:
        label: class, -1 where unknown.
        group: equal for pictures of one lesion or patient.
        source: index of the picture in its split; a picture that is drawn twice has it twice.
        valid: False for padding.
    """

    label: Int[Array, batch]
    group: Int[Array, batch]
    source: Int[Array, batch]
    valid: Bool[Array, batch]


@dataclass(frozen=True)
class Shard:
    """One device's share of the global batch, and the few things a loss must know of the others.

    A loss written with these is the same number, with the same gradient, whatever the number of devices: the engine
    adds up the losses and gradients of all devices.

    Attributes:
        axis: the mesh axis that the batch is sharded over; None where all of it is here.
    """

    axis: str | None = None

    def devices(self) -> int:
        return 1 if self.axis is None else lax.axis_size(self.axis)

    def mean(self, values: Float[Array, batch], valid: Bool[Array, batch]) -> Float[Array, ""]:
        """This device's contribution to the mean over the valid examples of the global batch."""
        count = jnp.sum(valid.astype(values.dtype))
        if self.axis is not None:
            count = lax.psum(count, self.axis)
        return jnp.sum(jnp.where(valid, values, jnp.zeros_like(values))) / jnp.maximum(count, jnp.ones_like(count))

    def total(self, share: Float[Array, ""]) -> Float[Array, ""]:
        """The sum of all devices' shares, for a ratio of two means. No gradient comes back from other devices."""
        return share if self.axis is None else lax.psum(lax.stop_gradient(share), self.axis)

    def gather(self, values: Array) -> Array:
        """The rows of all devices, in the order of the global batch; gradients flow to this device's own rows.

        A plain all-gather would send gradients back through a reduce-scatter. Every device computes a loss of the
        gathered rows in full (see `whole`), so the gradient of its own rows is all that it owes.
        """
        if self.axis is None:
            return values
        others = lax.all_gather(lax.stop_gradient(values), self.axis, tiled=True)
        start = lax.axis_index(self.axis) * values.shape[0]
        return lax.dynamic_update_slice_in_dim(others, values, start, axis=0)

    def whole(self, loss: Float[Array, ""]) -> Float[Array, ""]:
        """A loss that every device computed from the gathered batch: the value is shared out, the gradient kept."""
        devices = self.devices()
        return loss - lax.stop_gradient(loss) * ((devices - 1) / devices)

    def share(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """This device's share of a value that does not depend on examples; gradients are shared out with it."""
        return value / self.devices()


@dataclass(frozen=True)
class Task(ABC):
    """A task: what the engine, the diagnosis, the log and the figures need to know of it.

    Its file is imported to print `--help`, so it reaches JAX through `jaxcaps.lazy`.

    Attributes:
        settings: the dataclass of its own section of the configuration, which has the task's name; None for a task of
            fine-tuning, whose section is `classify`.
        layers: the layer group, one of `LAYER_GROUPS`, of each module or parameter of its network beside the encoder.
        reported: metrics that the log shows beside the loss, with `train/` or `validation/`.
        reconstruction: the metric that its reconstructions are measured by, for the diagnosis; the first in the list
            that the loss reports. Empty if it reconstructs nothing.
        hands_on: with `--transfer-latent`, which of its modules become which of the classifier's.
        model, augmentation, image_size: of the run.
    """

    settings: ClassVar[Any] = None
    layers: ClassVar[Mapping[str, str]] = {}
    reported: ClassVar[tuple[str, ...]] = ()
    reconstruction: ClassVar[tuple[str, ...]] = ()
    hands_on: ClassVar[Mapping[str, str]] = {}

    model: ModelConfig
    augmentation: AugmentationConfig
    image_size: int

    @classmethod  # noqa: B027
    def check(cls, config: Config) -> None:
        """Checks the rules between the task's own settings, and between them and the rest.

        Raises:
            UserError: settings that do not go together.
        """

    @classmethod
    @abstractmethod
    def make(cls, config: Config, dataset: Dataset) -> Task:
        """The task of a run. It may look at the training pictures.

        Raises:
            UserError: the data does not suit the task.
        """

    @classmethod
    def group_of(cls, path: str) -> str:
        """The layer group of a parameter.

        Raises:
            ValueError: the task declares none for it.
        """
        module, _, rest = path.partition("/")
        group = rest.partition("/")[0] if module == "encoder" else cls.layers.get(module)
        if group is None:
            raise ValueError(f"{cls.__name__}.layers names no layer group for {module!r}, a part of its network")
        return group

    @classmethod
    def layer_of(cls, path: str) -> str:
        """`stem/0` and so on for the stages of the stem; the layer group for all else."""
        return "/".join(path.split("/")[1:3]) if path.startswith("encoder/stem/") else cls.group_of(path)

    def notes(self, batch_size: int) -> list[str]:
        """Sentences for the log when a run begins."""
        return []

    @abstractmethod
    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> nnx.Module:
        """The network to train: the encoder, and the modules that the task adds."""

    @abstractmethod
    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width channels"]) -> Any:
        """What the loss sees of one picture as the data keeps it: augmented, masked, split."""

    @abstractmethod
    def loss(
        self, modules: Any, views: Any, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """This device's share of the loss and of metrics to log (the engine adds up all devices' shares).

        `views` has a leading batch axis; `progress` in [0, 1] is the fraction of training done.
        """

    def pictures(self, modules: Any, images: UInt8[Array, "batch height width channels"]) -> dict[str, Array]:
        """What a figure shows of some pictures as the data keeps them.

        Columns by title, [batch, height, width, channels] in [0, 1]. Empty where the network makes no pictures.
        """
        return {}

    def random_view(self, key: PRNGKeyArray, image: UInt8[Array, "height width channels"]) -> Array:
        """An augmented picture [size, size, channels] in [0, 1]; the data keeps it at a multiple of the size."""
        picture = image.astype(parameter_dtype(self.model)) / 255
        return functional.augment(key, picture, size=self.image_size, **dataclasses.asdict(self.augmentation))


def parameter_dtype(model: ModelConfig) -> Any:
    """What parameters and pictures are kept in: half precision is for computing only."""
    return jnp.dtype(jnp.float64 if model.dtype == "float64" else jnp.float32)


def whole_pictures(
    images: UInt8[Array, "batch height width channels"], size: int
) -> Float[Array, "batch size size channels"]:
    """Pictures as they are, float32, values in [0, 1]."""
    return jax.vmap(functional.shrink, in_axes=(0, None))(images.astype(jnp.float32) / 255, size)
