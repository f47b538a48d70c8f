"""VGG-16 up to relu3_3 (Simonyan and Zisserman 2015): its layers, and their weights from the user's file.

The library does not include the weights. The user provides a safetensors file with torchvision's names.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxcaps.errors import UserError


@dataclass(frozen=True)
class VGGConvolution:
    """A 3x3 convolution of VGG-16, followed by ReLU.

    Attributes:
        index: index of the layer in torchvision's `features`.
        width: output channels.
        pooled: whether 2x2 max pooling comes before it.
        feature: whether its output is a feature of the perceptual loss, relu2_2 or relu3_3.
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
# The normalisation of VGG-16's training inputs: (picture - mean) / deviation, by channel.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class Kernel(NamedTuple):
    """A convolution's float32 kernel [3, 3, in, out] and bias [out]."""

    kernel: np.ndarray
    bias: np.ndarray


def read_convolutions(file: Path, flag: str, count: int = len(CONVOLUTIONS)) -> list[Kernel]:
    """Reads the first `count` convolutions of VGG-16 from a safetensors file with torchvision's names.

    The names are `features.0.weight` [out, in, 3, 3] and so on. Other tensors are ignored.

    Args:
        file: the file.
        flag: the flag that named the file, for errors.
        count: number of convolutions, at most 7.

    Raises:
        UserError: the file cannot be read, or a tensor is missing, has another shape or is not finite.
    """
    found, before = [], 3
    try:
        with safe_open(file, framework="numpy") as tensors:
            stored = set(tensors.keys())
            for layer in CONVOLUTIONS[:count]:
                values = []
                for part, shape in (("weight", (layer.width, before, 3, 3)), ("bias", (layer.width,))):
                    name = f"features.{layer.index}.{part}"
                    expected = f"torchvision's VGG-16 has {name} of shape {list(shape)}"
                    if name not in stored:
                        raise UserError(f"{flag}={file}: no tensor {name}; {expected}")
                    actual = tuple(tensors.get_slice(name).get_shape())
                    if actual != shape:
                        raise UserError(f"{flag}={file}: {name} has shape {list(actual)}; {expected}")
                    values.append(tensors.get_tensor(name).astype(np.float32))
                    if not np.isfinite(values[-1]).all():
                        raise UserError(
                            f"{flag}={file}: {name} has values that are not finite; download the weights again"
                        )
                weight, bias = values
                found.append(Kernel(np.ascontiguousarray(weight.transpose(2, 3, 1, 0)), bias))
                before = layer.width
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{flag}={file} cannot be read as a safetensors file of torchvision's VGG-16: {error}"
        ) from None
    return found


def fitted_to_encoder(layers: list[Kernel]) -> list[Kernel]:
    """Rescales the convolutions for the input scaling of an `Encoder`, (picture - 1/2) * 4, instead of ImageNet's.

    The padding then corresponds to mid-grey, instead of ImageNet's mean colour.
    """
    (kernel, bias), *others = layers
    scale, shift = 1 / (4 * IMAGENET_DEVIATION), (0.5 - IMAGENET_MEAN) / IMAGENET_DEVIATION
    first = Kernel(kernel * scale[:, None], bias + np.einsum("hwio,i->o", kernel, shift))
    return [first, *others]
