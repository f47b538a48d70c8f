"""A `SabourCapsNet` with the parameters of a PyTorch network."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.converting.base import Weights
from jaxcaps.errors import UserError
from jaxcaps.functional import Dynamic, Routed, at_least_float32, safe_norm, squash
from jaxcaps.functional.patches import patch_counts
from jaxcaps.functional.routing._agreement import Iterated, weighted
from jaxcaps.functional.routing.base import agreement, as_votes, check_votes, gather
from jaxcaps.models import SabourCapsNet
from jaxcaps.nnx import CapsuleDecoder, PrimaryCaps
from jaxcaps.training.state import parameters_of, with_parameters


class PlanarCaps(PrimaryCaps):
    """Primary capsules as `view(batch, -1, dim)` makes them of PyTorch's maps [channels, rows, columns].

    A capsule is `dim` consecutive numbers of the flattened map, so it holds neighbouring places of one channel.
    """

    def map_of(
        self, features: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch rows columns types dim"]:
        """The capsules in PyTorch's order. Their place in this shape means nothing."""
        maps = self.convolution(features)
        return squash(jnp.moveaxis(maps, -1, -3).reshape(*maps.shape[:-1], self.types, self.dim))


@dataclass(frozen=True)
class DynamicOverInputs(Iterated):
    """Dynamic routing whose couplings are a softmax over the in capsules, as some PyTorch networks compute it.

    Sabour et al. 2017, equation 3, has a softmax over the out capsules.
    """

    def __call__(self, votes: Float[Array, "in out dim"], in_activations: Float[Array, "in"] | None = None) -> Routed:
        check_votes(votes, in_activations=(in_activations, "in"))
        wide = at_least_float32(votes)
        counted = weighted(wide, in_activations)
        logits = jnp.zeros_like(wide[:, :, 0])
        for iteration in range(self.iterations):
            couplings = jax.nn.softmax(logits, axis=0)
            poses = self.squashed(gather(couplings, counted))
            if iteration < self.iterations - 1:
                logits = logits + agreement(wide, poses)
        return as_votes(Routed(poses, safe_norm(poses), couplings), votes)

    def squashed(self, sums: Float[Array, "out dim"]) -> Float[Array, "out dim"]:
        return squash(sums)


class ElementwiseOverInputs(DynamicOverInputs):
    """The same, with each number of a pose squashed by itself: the poses may be longer than 1."""

    def squashed(self, sums: Float[Array, "out dim"]) -> Float[Array, "out dim"]:
        return squash(sums[..., None])[..., 0]


ROUTINGS: dict[str, Callable[[int], Callable[..., Routed]]] = {
    "dynamic": Dynamic,
    "over-inputs": DynamicOverInputs,
    "elementwise-over-inputs": ElementwiseOverInputs,
}


@dataclass(frozen=True)
class Settings:
    """The arguments of a converted `SabourCapsNet`.

    Attributes:
        shape, classes, width, primary_types, primary_dim, class_dim, kernel: as there.
        decoder: widths of the decoder's hidden layers; None without a decoder.
        iterations: of the routing.
        planar, routing: see `Weights`.
    """

    shape: tuple[int, int, int]
    classes: int
    width: int
    primary_types: int
    primary_dim: int
    class_dim: int
    kernel: int
    decoder: tuple[int, int] | None
    iterations: int
    planar: bool
    routing: str

    def network(self) -> SabourCapsNet:
        """The structure of the network, without arrays."""
        return nnx.eval_shape(self._build)

    def _build(self) -> SabourCapsNet:
        rngs = nnx.Rngs(0)
        network = SabourCapsNet(
            shape=self.shape,
            classes=self.classes,
            width=self.width,
            primary_types=self.primary_types,
            primary_dim=self.primary_dim,
            class_dim=self.class_dim,
            kernel=self.kernel,
            routing=ROUTINGS[self.routing](self.iterations),
            decoder=None
            if self.decoder is None
            else CapsuleDecoder(self.classes, self.class_dim, self.shape, widths=self.decoder, rngs=rngs),
            rngs=rngs,
        )
        if self.planar:
            sizes = (self.width, self.primary_types, self.primary_dim)
            network.primary = PlanarCaps(*sizes, kernel=self.kernel, stride=2, rngs=rngs)
        return network


def settings_of(weights: Weights, iterations: int) -> Settings:
    """What the shapes of the parameters say of the network.

    Raises:
        UserError: the pictures are not square, or the numbers of capsules do not fit the convolutions.
    """
    width, channels, kernel, _ = weights.convolution[0].shape
    numbers = len(weights.primary[0])
    in_capsules, classes, class_dim, dim = weights.transforms.shape
    side = math.isqrt(in_capsules * dim // numbers)
    if numbers % dim or side**2 * numbers != in_capsules * dim:
        raise UserError(
            f"{in_capsules} primary capsules of dimension {dim} do not come from {numbers} channels on a square map; "
            "only networks of square pictures can be converted"
        )
    # The larger of two sizes with this map: 28 in the paper. A decoder knows better.
    picture = 2 * (side - 1 + kernel)
    if weights.decoder:
        pixels, code = len(weights.decoder[-1][0]), weights.decoder[0][0].shape[1]
        picture = math.isqrt(pixels // channels)
        if code != classes * class_dim or picture**2 * channels != pixels:
            raise UserError(
                f"the decoder turns {code} numbers into {pixels}; expected {classes * class_dim}, those of the class "
                f"capsules, into a square picture of {channels} channel(s)"
            )
        sides = patch_counts((picture, picture), kernel=kernel, stride=1, padding=0)
        rows, _ = patch_counts(sides, kernel=kernel, stride=2, padding=0)
        if rows != side:
            raise UserError(
                f"the decoder makes pictures of {picture}x{picture}, whose map of capsules is {rows}x{rows}, but the "
                f"number of capsules is that of a map of {side}x{side}"
            )
    hidden = (len(weights.decoder[0][0]), len(weights.decoder[1][0])) if weights.decoder else None
    return Settings(
        (picture, picture, channels), classes, width, numbers // dim, dim, class_dim, kernel, hidden,
        iterations, weights.planar, weights.routing,
    )  # fmt: skip


def parameters_from(weights: Weights, settings: Settings) -> dict[str, np.ndarray]:
    """The parameters by path, float32, in the order of axes, capsules and pixels that our layers have.

    - convolutions: [out, in, rows, columns] to [rows, columns, in, out];
    - dense layers: [out, in] to [in, out];
    - in capsules, unless they are planar: from the order type, row, column to row, column, type;
    - the decoder's pixels: from the order channel, row, column to row, column, channel.
    """
    found: dict[str, np.ndarray] = {}
    for name, (kernel, bias) in (("convolution", weights.convolution), ("primary/convolution", weights.primary)):
        found |= {f"{name}/kernel": kernel.transpose(2, 3, 1, 0), f"{name}/bias": bias}
    transforms = weights.transforms
    if not weights.planar:
        side = math.isqrt(len(transforms) // settings.primary_types)
        places = transforms.reshape(settings.primary_types, side, side, *transforms.shape[1:])
        transforms = np.moveaxis(places, 0, 2).reshape(transforms.shape)
    found["class_capsules/weights"] = transforms
    height, width, channels = settings.shape
    for index, (weight, bias) in enumerate(weights.decoder):
        if index == len(weights.decoder) - 1:
            order = np.arange(len(bias)).reshape(channels, height, width).transpose(1, 2, 0).ravel()
            weight, bias = weight[order], bias[order]
        found |= {f"decoder/dense_{index}/kernel": weight.T, f"decoder/dense_{index}/bias": bias}
    return {path: np.ascontiguousarray(value, np.float32) for path, value in found.items()}


def assembled(settings: Settings, parameters: Mapping[str, Any]) -> SabourCapsNet:
    """The network with these parameters.

    Raises:
        UserError: a parameter is missing, or has another shape.
    """
    structure = settings.network()
    expected = {path: leaf.shape for path, leaf in jax.eval_shape(parameters_of, structure).items()}
    found = {path: value.shape for path, value in parameters.items()}
    if found != expected:
        wrong = sorted(path for path in {*found, *expected} if found.get(path) != expected.get(path))
        raise UserError(f"{wrong[0]}: shape {expected.get(wrong[0])} expected, found {found.get(wrong[0])}")
    network: SabourCapsNet = with_parameters(structure, {path: jnp.asarray(each) for path, each in parameters.items()})
    return network
