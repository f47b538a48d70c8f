"""XifengGuo/CapsNet-Pytorch: routing as in the paper, from primary capsules that mix neighbouring places."""

from jaxcaps.converting.base import Arrays, Layout, Weights


def weights(arrays: Arrays) -> Weights:
    return Weights(
        convolution=(arrays["conv1.weight"], arrays["conv1.bias"]),
        primary=(arrays["primarycaps.conv2d.weight"], arrays["primarycaps.conv2d.bias"]),
        transforms=arrays["digitcaps.weight"].swapaxes(0, 1),
        decoder=LAYOUT.layers(arrays),
        planar=True,
        routing="dynamic",
    )


LAYOUT = Layout(
    source="https://github.com/XifengGuo/CapsNet-Pytorch",
    shapes={
        "conv1.weight": "width channels kernel kernel",
        "conv1.bias": "width",
        "primarycaps.conv2d.weight": "numbers width kernel kernel",
        "primarycaps.conv2d.bias": "numbers",
        "digitcaps.weight": "classes in_capsules class_dim dim",
    },
    decoder="decoder.",
    weights=weights,
)
