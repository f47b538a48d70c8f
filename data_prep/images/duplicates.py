"""Near-duplicate pictures: frames of one video, crops, re-encoded copies. In different splits they leak the test set.

Difference hashes (Krawetz 2013) of 256 bits are compared between all pairs; connected pairs form a cluster.
"""

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2
# Bits of 256. Chosen on the breast ultrasound set, whose published copies contain many frames twice.
LARGEST_DISTANCE = 12
# Rows compared at once, and the largest number of distances: 64 MB for any number of pictures.
CHUNK = 2048
DISTANCES = 2**24


def difference_hash(picture: np.ndarray) -> np.ndarray:
    """Which pixels of a 16x17 grey miniature are darker than their right neighbour.

    Args:
        picture: uint8 RGB [height, width, 3] of any size.

    Returns:
        bool [256].
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA)
    return (small[:, 1:] > small[:, :-1]).reshape(-1)


def clusters(hashes: np.ndarray, distance: int = LARGEST_DISTANCE) -> np.ndarray:
    """Clusters of pictures whose hashes differ in few bits, directly or through other pictures.

    Args:
        hashes: bool [n, bits].
        distance: the largest number of bits in which two near-duplicates differ.

    Returns:
        int32 [n]: the cluster of each picture, numbered from 0.
    """
    count, bits = hashes.shape
    # The product of two hashes of +-1 is bits - 2 distance. It is exact in float32, and a matrix product is the fastest
    # way to count bits.
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    found = np.arange(count, dtype=np.int32)
    step = min(CHUNK, max(1, DISTANCES // max(count, 1)))
    for start in range(0, count, step):
        products = signs[start : start + step] @ signs[start:].T
        rows, columns = np.nonzero(products >= bits - 2 * distance)
        if len(rows) > len(products):  # each is near itself
            found = _joined(found, rows + start, columns + start)
    return np.unique(found, return_inverse=True)[1].astype(np.int32)


def _joined(found: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The clusters after joining pairs. Each earlier cluster is held together by its first member."""
    count = len(found)
    leaders = np.unique(found, return_index=True)[1]
    pairs = (np.concatenate([np.arange(count), first]), np.concatenate([leaders[found], second]))
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int32)
