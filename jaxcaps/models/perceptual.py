"""A frozen network whose features measure the perceptual similarity of pictures (Johnson et al. 2016).

It is VGG-16 up to relu3_3 (Simonyan and Zisserman 2015), read from the user's file. Without a file, it has the same
layers with random weights and a quarter of the widths. Liu et al. 2021 (arXiv 2103.10571) find that the structure
matters more than the weights. The quarter is our choice, and makes the network 16 times cheaper.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcaps.functional import at_least_float32, convolution
from jaxcaps.models.stem import pooled
from jaxcaps.models.vgg import CONVOLUTIONS, IMAGENET_DEVIATION, IMAGENET_MEAN, read_convolutions

NARROWING = 4
# The network does not depend on the seed of a run, so losses can be compared between runs.
RANDOM_SEED = 0


@dataclass(frozen=True, eq=False)
class PerceptualNetwork:
    """A frozen network. It is not a module, so it is not in the training state or in checkpoints.

    Attributes:
        kernels: float32 [3, 3, in, out] of each convolution.
        biases: float32 [out] of each convolution.
        description: description of the network, for the log.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    description: str

    def __call__(self, images: Float[Array, "batch height width 3"]) -> tuple[Array, Array]:
        """Returns the features relu2_2 and relu3_3 of pictures in [0, 1] with sides of at least 4 pixels."""
        x = at_least_float32(images)
        mean, deviation = (jnp.asarray(each, x.dtype)[None, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        x = (x - mean) / deviation
        features = []
        for layer, kernel, bias in zip(CONVOLUTIONS, self.kernels, self.biases, strict=True):
            if layer.pooled:
                x = pooled(x)
            x = convolution(x, jnp.asarray(kernel, x.dtype), (1, 1), ((1, 1), (1, 1)))
            x = jax.nn.relu(x + jnp.asarray(bias, x.dtype)[None, None, None])
            if layer.feature:
                features.append(x)
        early, late = features
        return early, late


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
    """Reads VGG-16 up to relu3_3 from the file of `--perceptual-weights`; raises errors as `read_convolutions`."""
    layers = read_convolutions(file, "--perceptual-weights")
    kernels, biases = zip(*layers, strict=True)
    return PerceptualNetwork(kernels, biases, f"VGG-16 of {file}")
