"""jindongwang/Pytorch-CapsuleNet and higgsfield/Capsule-Network-Tutorial, from which it comes.

Their primary capsules are consecutive numbers of the flattened maps of all convolutions. The poses of their class
capsules are squashed along an axis of length 1, so each number by itself. Their routing averages the agreements over
the batch, so they equal ours on one picture at a time.
"""

import numpy as np

from jaxcaps.converting.base import Arrays, Layout, Weights, numbered


def weights(arrays: Arrays) -> Weights:
    kernels, biases = (
        np.concatenate(numbered(arrays, f"primary_capsules.capsules.#.{kind}")) for kind in ("weight", "bias")
    )
    return Weights(
        convolution=(arrays["conv_layer.conv.weight"], arrays["conv_layer.conv.bias"]),
        primary=(kernels, biases),
        transforms=arrays["digit_capsules.W"][0],
        decoder=LAYOUT.layers(arrays),
        planar=True,
        routing="elementwise-over-inputs",
    )


LAYOUT = Layout(
    source="https://github.com/jindongwang/Pytorch-CapsuleNet",
    shapes={
        "conv_layer.conv.weight": "width channels kernel kernel",
        "conv_layer.conv.bias": "width",
        "primary_capsules.capsules.#.weight": "types width kernel kernel",
        "primary_capsules.capsules.#.bias": "types",
        "digit_capsules.W": "1 in_capsules classes class_dim dim",
    },
    # As it is spelt there.
    decoder="decoder.reconstraction_layers.",
    weights=weights,
)
