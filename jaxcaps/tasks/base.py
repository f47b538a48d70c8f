"""The protocol that the training engine knows of a task, and a device's share of a batch."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from jaxcaps.config import AugmentationConfig
from jaxcaps.functional import augment, shrink
from jaxcaps.models import Encoder


class Examples(NamedTuple):
    """What a batch says of its examples beside their pictures.

    Attributes:
        label: class, -1 where unknown.
        group: equal for pictures of one lesion or patient.
        source: index of the picture in its split; one drawn twice has the same.
        valid: False for padding.
    """

    label: Int[Array, "batch"]
    group: Int[Array, "batch"]
    source: Int[Array, "batch"]
    valid: Bool[Array, "batch"]


@dataclass(frozen=True)
class Shard:
    """One device's share of the global batch, and the few things a loss must know of the others.

    A loss written with these is the same number, with the same gradient, whatever the number of devices: the engine
    adds up the losses and gradients of all devices.

    Attributes:
        axis: the mesh axis the batch is sharded over; None where all of it is here.
    """

    axis: str | None = None

    def devices(self) -> int:
        return 1 if self.axis is None else lax.axis_size(self.axis)

    def mean(self, values: Float[Array, "batch"], valid: Bool[Array, "batch"]) -> Float[Array, ""]:
        """This device's contribution to the mean over the valid examples of the global batch."""
        count = jnp.sum(valid.astype(values.dtype))
        if self.axis is not None:
            count = lax.psum(count, self.axis)
        return jnp.sum(jnp.where(valid, values, jnp.zeros_like(values))) / jnp.maximum(count, jnp.ones_like(count))

    def total(self, share: Float[Array, ""]) -> Float[Array, ""]:
        """The sum of all devices' shares, for a ratio of two means. No gradient comes back from other devices."""
        return share if self.axis is None else lax.psum(lax.stop_gradient(share), self.axis)

    def gather(self, values: Array) -> Array:
        """The rows of all devices, in the order of the global batch; gradients flow to this device's own.

        A plain all-gather would send gradients back through a reduce-scatter. A loss of the gathered rows is
        computed by every device in full (see `whole`), so the gradient of its own rows is all that it owes.
        """
        if self.axis is None:
            return values
        others = lax.all_gather(lax.stop_gradient(values), self.axis, tiled=True)
        start = lax.axis_index(self.axis) * values.shape[0]
        return lax.dynamic_update_slice_in_dim(others, values, start, axis=0)

    def whole(self, loss: Float[Array, ""]) -> Float[Array, ""]:
        """A loss that every device computed of the gathered batch: the value is shared out, the gradient kept."""
        devices = self.devices()
        return loss - lax.stop_gradient(loss) * ((devices - 1) / devices)

    def share(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """This device's share of a value that no example goes into; gradients are shared out with it."""
        return value / self.devices()


class Task(Protocol):
    """What the engine needs of a task.

    Attributes:
        reported: names of the metrics, with `train/` or `validation/`, that lines of the log show beside the loss.
    """

    reported: ClassVar[tuple[str, ...]]

    def notes(self, batch_size: int) -> list[str]:
        """Sentences for the log when a run begins."""
        ...

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> nnx.Module:
        """The network to train: the encoder, and the modules that the task adds."""
        ...

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width 3"]) -> Any:
        """What the loss sees of one picture as the data keeps it: augmented, masked, split."""
        ...

    def loss(
        self, modules: Any, views: Any, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """This device's share of the loss and of metrics to log (the engine adds up all devices' shares).

        `views` has a leading batch axis; `progress` in [0, 1] is the fraction of training done.
        """
        ...

    def pictures(self, modules: Any, images: UInt8[Array, "batch height width 3"]) -> dict[str, Array]:
        """What a figure shows of some pictures as the data keeps them.

        Columns by title, [batch, height, width, 3] in [0, 1]. Empty where the network makes no pictures.
        """
        ...


def random_view(
    key: PRNGKeyArray, image: UInt8[Array, "height width 3"], augmentation: AugmentationConfig, size: int, dtype: Any
) -> Float[Array, "size size 3"]:
    """A picture, augmented; it is kept at `--oversampling` times the size."""
    return augment(key, image.astype(dtype) / 255, size=size, **dataclasses.asdict(augmentation))


def whole_pictures(images: UInt8[Array, "batch height width 3"], size: int) -> Float[Array, "batch size size 3"]:
    """Pictures as they are, float32, values in [0, 1]."""
    return jax.vmap(shrink, in_axes=(0, None))(images.astype(jnp.float32) / 255, size)
