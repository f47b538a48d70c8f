"""A fixed network whose features say how alike two pictures look (Johnson et al. 2016). It is never trained.

It is VGG-16 up to relu3_3 (Simonyan and Zisserman 2015), read from the user's file, or without one the same
convolutions and poolings with random weights at a quarter of the widths: Liu et al. 2021 (arXiv 2103.10571) find that
the structure matters more than the weights. The quarter is our choice; it makes the network 16 times as cheap.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors import SafetensorError, safe_open

from jaxcaps.errors import UserError
from jaxcaps.functional import at_least_float32, convolution


@dataclass(frozen=True)
class VGGConvolution:
    """A 3x3 convolution of VGG-16, a ReLU after it.

    Attributes:
        index: its number among the layers of torchvision's `features`.
        width: output channels.
        pooled: whether the largest of each 2x2 pixels is taken before it.
        feature: whether what comes out is one of the two features, relu2_2 and relu3_3.
    """

    index: int
    width: int
    pooled: bool = False
    feature: bool = False


CONVOLUTIONS = (
    VGGConvolution(0, 64),
    VGGConvolution(2, 64),
    VGGConvolution(5, 128, pooled=True),
    VGGConvolution(7, 128, feature=True),
    VGGConvolution(10, 256, pooled=True),
    VGGConvolution(12, 256),
    VGGConvolution(14, 256, feature=True),
)
# What VGG-16's weights were trained to see.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
NARROWING = 4
# The same network in every run, whatever its seed: losses of two runs can be compared.
RANDOM_SEED = 0


@dataclass(frozen=True, eq=False)
class PerceptualNetwork:
    """A frozen network: arrays and a function. No part of a module, so of no train state and no checkpoint.

    Attributes:
        kernels: float32 [3, 3, in, out] of each convolution.
        biases: float32 [out] of each.
        description: which network it is, for the log.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    description: str

    def __call__(self, images: Float[Array, "batch height width 3"]) -> tuple[Array, Array]:
        """The features relu2_2 and relu3_3 of pictures with values in [0, 1], at least 4 pixels a side."""
        x = at_least_float32(images)
        mean, deviation = (jnp.asarray(each, x.dtype)[None, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        x = (x - mean) / deviation
        features = []
        for layer, kernel, bias in zip(CONVOLUTIONS, self.kernels, self.biases, strict=True):
            if layer.pooled:
                x = _pooled(x)
            x = convolution(x, jnp.asarray(kernel, x.dtype), (1, 1), ((1, 1), (1, 1)))
            x = jax.nn.relu(x + jnp.asarray(bias, x.dtype)[None, None, None])
            if layer.feature:
                features.append(x)
        early, late = features
        return early, late


def _pooled(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch half_height half_width channels"]:
    """The largest of each 2x2 pixels; an odd last row or column is left away, as VGG's pooling does."""
    batch, height, width, channels = x.shape
    cut = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(cut.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def random_network() -> PerceptualNetwork:
    """The fixed random network: He initialisation (He et al. 2015), biases of 0, a quarter of VGG-16's widths."""
    numbers = np.random.default_rng(RANDOM_SEED)
    widths = (3, *(layer.width // NARROWING for layer in CONVOLUTIONS))
    kernels = tuple(
        numbers.normal(0, np.sqrt(2 / (9 * before)), (3, 3, before, after)).astype(np.float32)
        for before, after in itertools.pairwise(widths)
    )
    biases = tuple(np.zeros(after, np.float32) for after in widths[1:])
    return PerceptualNetwork(
        kernels, biases, "a fixed random network (He initialisation, VGG-16's layers at a quarter of their widths)"
    )


def read_vgg16(file: Path) -> PerceptualNetwork:
    """VGG-16 from a safetensors file with torchvision's names: `features.0.weight` [out, in, 3, 3] and so on.

    Tensors beyond relu3_3 are not read.

    Raises:
        UserError: the file cannot be read, or a tensor is missing, has another shape or is not finite.
    """
    kernels: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    try:
        with safe_open(file, framework="numpy") as tensors:
            stored = set(tensors.keys())
            for before, layer in zip((3, *(each.width for each in CONVOLUTIONS)), CONVOLUTIONS, strict=False):
                shapes = {"weight": (layer.width, before, 3, 3), "bias": (layer.width,)}
                for part, shape in shapes.items():
                    name = f"features.{layer.index}.{part}"
                    if name not in stored:
                        raise UserError(f"--perceptual-weights={file}: no tensor {name}; {_expected(name, shape)}")
                    found = tuple(tensors.get_slice(name).get_shape())
                    if found != shape:
                        raise UserError(
                            f"--perceptual-weights={file}: {name} has shape {list(found)}; {_expected(name, shape)}"
                        )
                    value = tensors.get_tensor(name).astype(np.float32)
                    if not np.isfinite(value).all():
                        raise UserError(f"--perceptual-weights={file}: {name} holds values that are not finite")
                    (kernels if part == "weight" else biases).append(value)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"--perceptual-weights={file} cannot be read as a safetensors file of torchvision's VGG-16: {error}"
        ) from None
    turned = tuple(np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)) for kernel in kernels)
    return PerceptualNetwork(turned, tuple(biases), f"VGG-16 of {file}")


def _expected(name: str, shape: tuple[int, ...]) -> str:
    return f"torchvision's VGG-16 has {name} of shape {list(shape)}"
