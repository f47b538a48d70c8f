"""Continues the field of view beyond its edge, for steps that look at the neighbourhood of a pixel."""

import cv2
import numpy as np


def nearest_inside(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest pixel inside a mask, for each pixel outside it.

    Args:
        mask: bool [height, width], True somewhere.

    Returns:
        Rows and columns, each int64 [n], in the order of `np.nonzero(~mask)`.
    """
    outside = np.ascontiguousarray(~mask, np.uint8)
    _, labels = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(mask)
    # OpenCV numbers the pixels inside in an order of its own, which is read off their labels.
    place = np.zeros(int(labels.max()) + 1, np.int64)
    place[labels[mask]] = np.arange(len(rows))
    nearest = place[labels[~mask]]
    return rows[nearest], columns[nearest]


def mirror_outwards(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fills the pixels outside `mask` with the picture mirrored at its edge.

    A pixel outside takes the value at the same distance behind the nearest pixel inside. If that place lies outside the
    mask, it takes the value of the nearest pixel itself.

    Args:
        image: uint8 [height, width] or [height, width, channels].
        mask: bool [height, width], the pixels to keep.

    Returns:
        An array like `image`; a copy of it if `mask` is True everywhere or nowhere.
    """
    if mask.all() or not mask.any():
        return image.copy()
    height, width = mask.shape
    rows, columns = np.nonzero(~mask)
    edge_rows, edge_columns = nearest_inside(mask)
    mirrored_rows = np.clip(2 * edge_rows - rows, 0, height - 1)
    mirrored_columns = np.clip(2 * edge_columns - columns, 0, width - 1)
    lands_inside = mask[mirrored_rows, mirrored_columns]
    filled = image.copy()
    filled[rows, columns] = image[
        np.where(lands_inside, mirrored_rows, edge_rows), np.where(lands_inside, mirrored_columns, edge_columns)
    ]
    return filled
