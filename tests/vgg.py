"""A weight file like that of torchvision's VGG-16 with random numbers, and the outputs of its layers."""

import numpy as np

WIDTHS = (3, 64, 64, 128, 128, 256, 256, 256)
INDICES = (0, 2, 5, 7, 10, 12, 14)


def vgg_tensors(scale=1.0):
    """Random tensors with the names and shapes of torchvision's VGG-16 up to relu3_3, and one more."""
    numbers = np.random.default_rng(0)
    tensors = {"features.17.weight": np.zeros((512, 256, 3, 3), np.float32)}
    for index, before, after in zip(INDICES, WIDTHS, WIDTHS[1:], strict=False):
        kernel = numbers.normal(0, scale * np.sqrt(2 / (9 * before)), (after, before, 3, 3))
        tensors[f"features.{index}.weight"] = kernel.astype(np.float32)
        tensors[f"features.{index}.bias"] = numbers.normal(0, 0.1, after).astype(np.float32)
    return tensors


def layers_by_loops(tensors, image):
    """What each ReLU gives, by its convolution's number. As torchvision has it: OIHW kernels, channels first, zeros
    for padding."""
    x = ((image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)
    features = {}
    for index in range(16):
        if index in INDICES:
            kernel, bias = tensors[f"features.{index}.weight"], tensors[f"features.{index}.bias"]
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            y = np.zeros((len(bias), *x.shape[1:]))
            for row in range(x.shape[1]):
                for column in range(x.shape[2]):
                    window = padded[:, row : row + 3, column : column + 3]
                    y[:, row, column] = np.tensordot(kernel, window, 3) + bias
            x = np.maximum(y, 0)
            features[index] = x
        elif index in (4, 9):
            x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
            x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2).max(axis=(2, 4))
    return {index: maps.transpose(1, 2, 0) for index, maps in features.items()}
