"""What the page shows of a network: its features, capsules and reconstructions on validation pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcaps.data.dataset import Split
from jaxcaps.data.sampling import evenly_spaced
from jaxcaps.functional import coupling_entropy, safe_norm
from jaxcaps.models.outputs import pooled
from jaxcaps.reporting.pictures import resized
from jaxcaps.tasks import Task
from jaxcaps.tasks.base import whole_pictures
from jaxcaps.training.state import Parameters, with_parameters

# The maximum number of pictures, evenly spaced over the split.
PICTURES = 1000
# Side of the thumbnails in pixels.
THUMBNAIL = 48
# Pictures with their reconstructions.
MADE = 8
BATCH = 64


@dataclass(frozen=True)
class Observation:
    """A network on pictures of the validation split.

    Attributes:
        rows: int [n], which pictures of the split these are.
        thumbnails: uint8 [n, 48, 48, 3], the pictures.
        features: float32 [n, types * dim], the primary capsules averaged over positions.
        primary: float32 [n, capsules], norms of the primary capsules; None for a network without capsules.
        routed: float32 [n, capsules], activations of the routed capsules; None without routing.
        entropy: float32 [n], entropy of the couplings, 1 if uniform; None without routing.
        made: {title: float [pictures, height, width, channels] in [0, 1]}, pictures and their reconstructions.
    """

    rows: np.ndarray
    thumbnails: np.ndarray
    features: np.ndarray
    primary: np.ndarray | None
    routed: np.ndarray | None
    entropy: np.ndarray | None
    made: Mapping[str, np.ndarray]


def observe(
    task: Task,
    modules: Any,
    parameters: Parameters,
    split: Split,
    batch_size: int = BATCH,
    made: Mapping[str, np.ndarray] | None = None,
) -> Observation:
    """Runs the network on up to 1,000 pictures of a split, on one device.

    Args:
        task: the task of the network.
        modules: the network's structure.
        parameters: its parameters by path.
        split: held-out pictures.
        batch_size: pictures at a time.
        made: pictures and their reconstructions, if there are some already. Default: those of a few pictures are made.
    """
    rows = evenly_spaced(len(split), PICTURES)
    parameters = jax.device_put(jax.device_get(parameters), jax.local_devices()[0])
    apply = jax.jit(look(task, modules), compiler_options={"xla_backend_optimization_level": 0})
    batch = min(batch_size, len(rows))
    found, thumbnails = [], []
    for start in range(0, len(rows), batch):
        # A thousand large pictures would not fit into memory.
        part = np.stack([split.read(int(row)) for row in rows[start : start + batch]])
        thumbnails += [resized(picture, THUMBNAIL) for picture in part]
        padded = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.uint8)])
        found.append({name: each[: len(part)] for name, each in jax.device_get(apply(parameters, padded)).items()})
    seen = {name: np.concatenate([each[name] for each in found]).astype(np.float32) for name in found[0]}
    pictures: Mapping[str, Any] = made or {}
    if made is None:
        shown = rows[evenly_spaced(len(rows), MADE)]
        examples = jnp.asarray(np.stack([split.read(int(row)) for row in shown]))
        pictures = task.pictures(with_parameters(modules, parameters), examples)
    return Observation(
        rows,
        np.stack(thumbnails),
        seen["features"],
        seen.get("primary"),
        seen.get("routed"),
        seen.get("entropy"),
        {title: np.asarray(each, np.float32) for title, each in pictures.items()},
    )


def look(task: Task, modules: Any) -> Callable[[Parameters, Array], dict[str, Array]]:
    """Returns a function (parameters, pictures uint8 [batch, size, size, channels]) -> the arrays of an `Observation`,
    by name."""
    routing = [name for name, group in task.layers.items() if group == "routing"]

    def seen(parameters: Parameters, images: Array) -> dict[str, Array]:
        network = with_parameters(modules, parameters)
        pictures = whole_pictures(images, task.image_size)
        if not task.capsules:
            maps = jax.nn.relu(network.encoder.features(pictures))
            return {"features": pooled(maps, maps.shape[-1])}
        poses = network.encoder(pictures).poses
        width = task.model.primary_types * task.model.primary_dim
        found = {"features": pooled(poses, width), "primary": safe_norm(poses)}
        for name in routing:
            routed = getattr(network, name)(poses)
            found |= {"routed": routed.activations, "entropy": jax.vmap(coupling_entropy)(routed.couplings)}
        return found

    return seen
