"""Sampling orders: the examples of each step as a pure function of (seed, step), equal on all hosts and restarts.

Random numbers are raw words of NumPy's Philox, a counter-based generator, so any step can be drawn without the steps
before it. Unlike the distributions of `np.random.Generator`, raw words are the same in every version of NumPy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jaxcaps.errors import UserError

# Independent streams of one seed.
SHUFFLED, BALANCED = 0, 1


@dataclass(frozen=True)
class SamplingOrder:
    """The order in which steps draw examples.

    Attributes:
        batch_size: examples per step.
        draw: step -> (indices int32 [batch_size], valid bool [batch_size]); `valid` is False for padding.
    """

    batch_size: int
    draw: Callable[[int], tuple[np.ndarray, np.ndarray]]

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        return self.draw(step)


def evenly_spaced(length: int, count: int) -> np.ndarray:
    """Indices of at most `count` examples, spread over all of them, in order: int [min(length, count)].

    Neighbours are often of one lesion or patient, so the first examples would stand for few of them.
    """
    return np.linspace(0, length - 1, min(length, count)).round().astype(int)


def shuffled(count: int, batch_size: int, seed: int) -> SamplingOrder:
    """Sampling without replacement, in a new order each epoch. An epoch may end within a batch.

    Args:
        count: number of examples.
        batch_size: examples per step.
        seed: seed of the orders.

    Raises:
        UserError: the batch is larger than the data set.
    """
    if batch_size > count:
        raise UserError(
            f"--batch-size={batch_size} is larger than the training set of {count} images; give at most that, such as "
            f"--batch-size={count} --effective-batch={count}"
        )

    @lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        # Sorting random 64-bit words gives uniform permutations: among a million words, ties occur once in 10^7 orders.
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
    """Class-balanced sampling with replacement: the weight of an example is 1 / (size of its class).

    Unlabelled examples, which are allowed in pre-training, keep their share of the data set, and the classes share the
    rest equally. A batch may be larger than the data set.

    Args:
        labels: int [n], the class of each example, -1 if unknown.
        batch_size: examples per step.
        seed: seed of the draws.

    Raises:
        UserError: no example has a label.
    """
    known = labels >= 0
    if not known.any():
        raise UserError("--sampling=balanced needs labels, and no training image has one; give --sampling=shuffled")
    counts = np.bincount(labels[known])
    weights = 1 / counts[labels]
    # The weights of the labelled examples sum to the number of classes.
    weights[~known] = np.sum(counts > 0) / known.sum()
    cumulative = np.cumsum(weights / weights.sum())
    # The last interval must end at exactly 1 despite rounding.
    cumulative[-1] = 1

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        uniform = (_words(seed, BALANCED, step, batch_size) >> np.uint64(11)) * 2.0**-53
        indices = np.searchsorted(cumulative, uniform, side="right").astype(np.int32)
        return indices, np.ones(batch_size, bool)

    return SamplingOrder(batch_size, draw)


def in_order(order: np.ndarray, batch_size: int) -> SamplingOrder:
    """Every example once, for evaluation. The last batch is padded with the first example, marked as not valid."""

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        valid = positions < len(order)
        return order[np.where(valid, positions, 0)].astype(np.int32), valid

    return SamplingOrder(batch_size, draw)


def _words(seed: int, stream: int, number: int, count: int) -> np.ndarray:
    """Random bits, uint64 [count], for (seed, stream, number)."""
    key = np.array([seed % 2**64, stream], np.uint64)
    # Philox counts drawn words in the low word.
    counter = np.array([0, number, 0, 0], np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)
