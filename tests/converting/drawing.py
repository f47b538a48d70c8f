"""Parameters and pictures that are the same in PyTorch's process and in the tests."""

import numpy as np

# The class whose pose is decoded, and how many pixels lie between two that are recorded.
LABEL, EVERY = 3, 49

# Shapes of the networks' parameters as they are published, for MNIST.
DECODER = {
    "0.weight": (512, 160), "0.bias": (512,), "2.weight": (1024, 512), "2.bias": (1024,),
    "4.weight": (784, 1024), "4.bias": (784,),
}  # fmt: skip
FIRST = {"weight": (256, 1, 9, 9), "bias": (256,)}
CAPSULES = {
    f"primary_capsules.capsules.{index}.{kind}": shape
    for index in range(8)
    for kind, shape in (("weight", (32, 256, 9, 9)), ("bias", (32,)))
}
SHAPES = {
    "gram-ai": {
        **{f"conv1.{name}": shape for name, shape in FIRST.items()},
        **CAPSULES,
        "digit_capsules.route_weights": (10, 1152, 8, 16),
        **{f"decoder.{name}": shape for name, shape in DECODER.items()},
    },
    "jindong-wang": {
        **{f"conv_layer.conv.{name}": shape for name, shape in FIRST.items()},
        **CAPSULES,
        "digit_capsules.W": (1, 1152, 10, 16, 8),
        **{f"decoder.reconstraction_layers.{name}": shape for name, shape in DECODER.items()},
    },
    "xifeng-guo": {
        **{f"conv1.{name}": shape for name, shape in FIRST.items()},
        "primarycaps.conv2d.weight": (256, 256, 9, 9),
        "primarycaps.conv2d.bias": (256,),
        "digitcaps.weight": (10, 1152, 16, 8),
        **{f"decoder.{name}": shape for name, shape in DECODER.items()},
    },
}


def parameters(shapes, seed=0):
    """Parameters by name under which no capsule saturates or vanishes."""
    # The one stream that NumPy never changes.
    numbers = np.random.RandomState(seed)
    found = {}
    for name in sorted(shapes):
        shape = shapes[name]
        # A softmax over the in capsules divides the votes by their number.
        spread = {"W": 3, "digitcaps.weight": 0.05}.get(name.removeprefix("digit_capsules."), 2)
        transforms = name.endswith(("W", "route_weights", "digitcaps.weight"))
        deviation = 0.1 if len(shape) == 1 else spread if transforms else 1.5 / np.sqrt(np.prod(shape[1:]))
        found[name] = (deviation * numbers.standard_normal(shape)).astype(np.float32)
    return found


def pictures(count, shape=(1, 28, 28), seed=1):
    """Pictures in PyTorch's order of axes."""
    return np.random.RandomState(seed).random_sample((count, *shape)).astype(np.float32)
