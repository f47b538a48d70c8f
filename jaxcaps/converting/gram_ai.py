"""gram-ai/capsule-networks: a convolution for each dimension of the primary capsules."""

import numpy as np

from jaxcaps.converting.base import Arrays, Layout, Weights, numbered


def weights(arrays: Arrays) -> Weights:
    # [dim, types, ...], while ours are dimensions within types.
    kernels, biases = (
        np.stack(numbered(arrays, f"primary_capsules.capsules.#.{kind}"), axis=1) for kind in ("weight", "bias")
    )
    return Weights(
        convolution=(arrays["conv1.weight"], arrays["conv1.bias"]),
        primary=(kernels.reshape(-1, *kernels.shape[2:]), biases.reshape(-1)),
        # It multiplies rows by matrices.
        transforms=arrays["digit_capsules.route_weights"].transpose(1, 0, 3, 2),
        decoder=LAYOUT.layers(arrays),
        planar=False,
        routing="over-inputs",
    )


LAYOUT = Layout(
    source="https://github.com/gram-ai/capsule-networks",
    shapes={
        "conv1.weight": "width channels kernel kernel",
        "conv1.bias": "width",
        "primary_capsules.capsules.#.weight": "types width kernel kernel",
        "primary_capsules.capsules.#.bias": "types",
        "digit_capsules.route_weights": "classes in_capsules dim class_dim",
    },
    decoder="decoder.",
    weights=weights,
)
