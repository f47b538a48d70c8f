"""The capsule network: a convolutional stem, primary capsules, and routed class capsules."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.config import ROUTING_FIELDS, ModelConfig
from jaxcaps.functional import (
    Routed,
    Routing,
    class_votes,
    dense_votes,
    named_routing,
    routing_settings,
    safe_norm,
)
from jaxcaps.models.geometry import geometry, primary_capsules
from jaxcaps.models.settings import dtypes
from jaxcaps.models.stems import STEMS
from jaxcaps.nnx import ClassCaps, DenseCaps, PrimaryCaps


class Encoded(NamedTuple):
    """The output of an encoder.

    Attributes:
        poses: primary capsules [batch, capsules, dim].
        maps: the picture and the input of each later convolution, for skip connections to the decoder.
    """

    poses: Array
    maps: tuple[Array, ...]


class Encoder(nnx.Module):
    """Stem and primary capsules, which pre-training transfers to the classifier."""

    def __init__(self, model: ModelConfig, image_size: int, rngs: nnx.Rngs):
        self.shape = (image_size, image_size, model.channels)
        shape = geometry(model, image_size)
        build = STEMS.find(model.stem, "--stem")
        self.stem = nnx.List(
            build(width, stage, model, rngs) for stage, (_, width) in zip(shape.stages, shape.maps[:-1], strict=True)
        )
        self.dtype, param_dtype = dtypes(model)
        self.primary = PrimaryCaps(
            shape.maps[-1][1],
            model.primary_types,
            model.primary_dim,
            kernel=model.primary_kernel,
            stride=model.primary_stride,
            padding=shape.primary_padding,
            dtype=self.dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Encoded:
        """Encodes pictures with values in [0, 1].

        Raises:
            ValueError: the pictures have another size or number of channels, or are integers.
        """
        maps = self._maps(images)
        return Encoded(self.primary(maps[-1]), maps)

    def features(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch rows columns channels"]:
        """The output of the primary capsules' convolution, before it is reshaped to capsules and squashed."""
        found: Array = self.primary.convolution(self._maps(images)[-1])
        return found

    def _maps(self, images: Array) -> tuple[Array, ...]:
        if images.shape[1:] != self.shape or not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(
                f"pictures of shape {list(images.shape)} and type {images.dtype}: expected floats in [0, 1] of shape "
                f"[batch, {', '.join(map(str, self.shape))}]; `preprocess` of a loaded network makes them"
            )
        # Centre and scale to about unit variance; 1/4 is a typical standard deviation of natural pictures.
        x = ((images - 0.5) * 4).astype(self.dtype)
        maps = [x]
        for stage in self.stem:
            maps.append(stage(maps[-1]))
        return tuple(maps)


def routing_of(model: ModelConfig) -> Routing:
    """The routing of a model, with those of the model's settings that this routing has."""
    known = routing_settings(model.routing)
    settings = {setting: getattr(model, field) for field, setting in ROUTING_FIELDS.items() if setting in known}
    return named_routing(model.routing, **settings)


def _active(routing: Any, poses: Array, activations: Array | None) -> Array | None:
    """The given activations, or the norms of the primary poses if the routing requires activations."""
    needed = activations is None and "in_activations" in getattr(routing, "needs", ())
    return safe_norm(poses) if needed else activations


class RoutedCapsules(DenseCaps):
    """Class or latent capsules of dimension `capsule_dim`, routed from the primary capsules, each with its transform.

    If the routing requires activations of its input capsules, they are the norms of the primary poses.
    """

    def __init__(self, out_capsules: int, model: ModelConfig, image_size: int, rngs: nnx.Rngs):
        super().__init__(primary_capsules(model, image_size), out_capsules, *_dims(model), **_settings(model, rngs))

    def __call__(
        self, poses: Float[Array, "*batch in in_dim"], activations: Float[Array, "*batch in"] | None = None
    ) -> Routed:
        return super().__call__(poses, _active(self.routing, poses, activations))

    def votes(self, poses: Float[Array, "in in_dim"]) -> Float[Array, "in out out_dim"]:
        """The votes of one picture's primary capsules."""
        return dense_votes(self.weights[...].astype(self.dtype), poses.astype(self.dtype))


class SharedRoutedCapsules(ClassCaps):
    """As `RoutedCapsules`, but the capsules of a primary type share their transform, and votes hold their position."""

    def __init__(self, out_capsules: int, model: ModelConfig, image_size: int, rngs: nnx.Rngs):
        self.grid = geometry(model, image_size).grid
        super().__init__(
            self.grid, self.grid, model.primary_types, out_capsules, *_dims(model), **_settings(model, rngs)
        )

    def __call__(
        self, poses: Float[Array, "*batch in in_dim"], activations: Float[Array, "*batch in"] | None = None
    ) -> Routed:
        """Out poses [*batch, out, out_dim], activations [*batch, out], couplings [*batch, in, out]."""
        active = _active(self.routing, poses, activations)
        routed = super().__call__(self._map(poses), None if active is None else self._map(active[..., None])[..., 0])
        couplings = routed.couplings.reshape(*poses.shape[:-1], routed.couplings.shape[-1])
        return routed._replace(couplings=couplings)

    def votes(self, poses: Float[Array, "in in_dim"]) -> Float[Array, "in out out_dim"]:
        """The votes of one picture's primary capsules."""
        weights, placed = self.weights[...].astype(self.dtype), self._map(poses).astype(self.dtype)
        return class_votes(self.routing, weights, placed, coordinates=self.coordinates)

    def _map(self, flat: Float[Array, "*batch in dim"]) -> Float[Array, "*batch rows columns types dim"]:
        return flat.reshape(*flat.shape[:-2], self.grid, self.grid, -1, flat.shape[-1])


def _dims(model: ModelConfig) -> tuple[int, int]:
    return model.primary_dim, model.capsule_dim


def _settings(model: ModelConfig, rngs: nnx.Rngs) -> dict[str, Any]:
    dtype, param_dtype = dtypes(model)
    return {"routing": routing_of(model), "dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}


def routed_capsules(
    out_capsules: int, model: ModelConfig, image_size: int, rngs: nnx.Rngs
) -> RoutedCapsules | SharedRoutedCapsules:
    """The class or latent capsules of a model, by its `shared_transforms`."""
    kind = SharedRoutedCapsules if model.shared_transforms else RoutedCapsules
    return kind(out_capsules, model, image_size, rngs)


class CapsNet(nnx.Module):
    """A classifier from pictures to one capsule and one activation per class.

    Args:
        classes: number of classes.
        model: the architecture, e.g. `preset("small64", "finetune").model`.
        image_size: side of the square pictures.
        encoder: the encoder to use. Default: a new one.
    """

    def __init__(
        self, classes: int, model: ModelConfig, image_size: int, *, encoder: Encoder | None = None, rngs: nnx.Rngs
    ):
        self.encoder = Encoder(model, image_size, rngs) if encoder is None else encoder
        self.class_capsules = routed_capsules(classes, model, image_size, rngs)

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Routed:
        routed: Routed = self.class_capsules(self.encoder(images).poses)
        return routed


def count_parameters(module: nnx.Module) -> int:
    """Returns the number of trainable values in a module, which may be abstract."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
