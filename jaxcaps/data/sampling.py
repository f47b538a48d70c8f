"""Which examples a step sees: pure functions of (seed, step), the same on every host and after every restart.

The random numbers are the raw words of NumPy's Philox, a counter-based generator: any step is reached without the
ones before it. Unlike the distributions of `np.random.Generator`, they are the same in every version of NumPy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jaxcaps.errors import UserError

# Streams of one seed, kept apart.
SHUFFLED, BALANCED = 0, 1


@dataclass(frozen=True)
class SamplingOrder:
    """The examples of each step.

    Attributes:
        batch_size: examples of a step.
        draw: step -> (indices int32 [batch_size], valid bool [batch_size]); where `valid` is False the example only
            fills the batch.
    """

    batch_size: int
    draw: Callable[[int], tuple[np.ndarray, np.ndarray]]

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        return self.draw(step)


def shuffled(count: int, batch_size: int, seed: int) -> SamplingOrder:
    """Epoch after epoch without replacement, each in an order of its own. An epoch may end inside a batch.

    Args:
        count: number of examples.
        batch_size: examples of a step.
        seed: of the orders.

    Raises:
        UserError: the batch is larger than the set.
    """
    if batch_size > count:
        raise UserError(
            f"--batch-size={batch_size} is larger than the training set of {count} images; give at most that, as in "
            f"--batch-size={count} --effective-batch={count}"
        )

    @lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        # Sorting random 64-bit words permutes uniformly: of a million words, two are equal once in 10^7 orders.
        return np.argsort(_words(seed, SHUFFLED, epoch, count), kind="stable").astype(np.int32)

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        indices = np.empty(batch_size, np.int32)
        filled = 0
        while filled < batch_size:
            epoch, start = divmod(step * batch_size + filled, count)
            part = order(epoch)[start : start + batch_size - filled]
            indices[filled : filled + len(part)] = part
            filled += len(part)
        return indices, np.ones(batch_size, bool)

    return SamplingOrder(batch_size, draw)


def balanced(labels: np.ndarray, batch_size: int, seed: int) -> SamplingOrder:
    """With replacement, each example by the weight 1 / (number of its class): all classes are equally frequent.

    Examples without a label, as pre-training may have them, are as frequent as they are in the set; the classes are
    equally frequent among the rest. A batch may be larger than the set.

    Args:
        labels: int [n], the class of each example, -1 where unknown.
        batch_size: examples of a step.
        seed: of the draws.

    Raises:
        UserError: no example has a label.
    """
    known = labels >= 0
    if not known.any():
        raise UserError("--sampling=balanced needs labels, and no training image has one; give --sampling=shuffled")
    counts = np.bincount(labels[known])
    weights = 1 / counts[labels]
    # Together the known weigh as much as there are classes.
    weights[~known] = np.sum(counts > 0) / known.sum()
    cumulative = np.cumsum(weights / weights.sum())
    # Rounding must not leave a gap below 1, the end of the last interval.
    cumulative[-1] = 1

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        uniform = (_words(seed, BALANCED, step, batch_size) >> np.uint64(11)) * 2.0**-53
        indices = np.searchsorted(cumulative, uniform, side="right").astype(np.int32)
        return indices, np.ones(batch_size, bool)

    return SamplingOrder(batch_size, draw)


def in_order(order: np.ndarray, batch_size: int) -> SamplingOrder:
    """Each of `order`'s examples once, for evaluation. The last batch is filled up with the first one, not valid."""

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        valid = positions < len(order)
        return order[np.where(valid, positions, 0)].astype(np.int32), valid

    return SamplingOrder(batch_size, draw)


def _words(seed: int, stream: int, number: int, count: int) -> np.ndarray:
    """uint64 [count] of random bits that belong to (seed, stream, number)."""
    key = np.array([seed % 2**64, stream], np.uint64)
    # The low word counts the words drawn.
    counter = np.array([0, number, 0, 0], np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)
