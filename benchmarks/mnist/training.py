"""Trains classifiers of digits and measures their errors."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.mnist.digits import Digits

BATCH = 64
# Batch size of classification.
SCORED = 500

# (network, pictures in [0, 1], labels, progress in [0, 1]) -> the mean loss of a batch
Loss = Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]
Move = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Trained(NamedTuple):
    """Attributes: parameters of the best held-out evaluation, held-out error in % of each evaluation, index of the best
    evaluation (from 0; the first in ties), seconds of training without evaluation."""

    parameters: Any
    held_out_errors: list[float]
    best: int
    seconds: float


def scaled(images: np.ndarray) -> jax.Array:
    return jnp.asarray(images[..., None], jnp.float32) / 255


def scorer(network: nnx.Module) -> Callable[[Any, np.ndarray], np.ndarray]:
    """A function from parameters and pictures to predicted classes."""
    graph = nnx.graphdef(network)

    @jax.jit
    def classes(parameters: Any, images: jax.Array) -> jax.Array:
        return jnp.argmax(nnx.merge(graph, parameters)(images).activations, axis=1)

    def predict(parameters: Any, images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), SCORED)
        return np.concatenate([classes(parameters, scaled(images[start : start + SCORED])) for start in starts])

    return predict


def error(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The error in %."""
    return 100 * float(np.mean(predictions != labels))


def train(
    network: nnx.Module,
    loss: Loss,
    training: Digits,
    held_out: Digits,
    move: Move,
    *,
    steps: int,
    evaluations: int,
    learning_rate: float,
    seed: int,
    note: Callable[[str], None],
) -> Trained:
    """Trains with AdamW, warm-up over a tenth of the steps and cosine decay to zero, and scores the held-out digits.

    Args:
        network: returns an object with `activations` [batch, classes] for pictures [batch, height, width, 1].
        training, held_out: digits. Those held out are scored without transformation.
        move: transformation of a batch of training pictures.
        steps: batches of 64 digits, in a new order each epoch.
        evaluations: number of evaluations, evenly spaced, the last at the end.
        note: called with a line about the progress.
    """
    schedule = optax.warmup_cosine_decay_schedule(0, learning_rate, steps // 10, steps)
    # Decay only kernels and transforms.
    decayed = lambda parameters: jax.tree.map(lambda x: x.ndim > 1, parameters)  # noqa: E731
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01, b2=0.99, mask=decayed)
    )
    graph, parameters = nnx.split(network)
    state = optimizer.init(parameters)

    def update(parameters: Any, state: Any, images: jax.Array, labels: jax.Array, step: jax.Array) -> Any:
        progress = step / steps
        value, gradients = jax.value_and_grad(lambda p: loss(nnx.merge(graph, p), images, labels, progress))(parameters)
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    step_function = jax.jit(update, donate_argnums=(0, 1))
    predict = scorer(network)
    generator = np.random.default_rng(seed)
    errors: list[float] = []
    best: Any = None
    seconds, began = 0.0, time.perf_counter()
    order = np.empty(0, int)
    for step in range(steps):
        if len(order) < BATCH:
            order = generator.permutation(len(training.labels))
        chosen, order = order[:BATCH], order[BATCH:]
        images = scaled(move(training.images[chosen], generator))
        parameters, state, value = step_function(parameters, state, images, training.labels[chosen], step)
        if (step + 1) * evaluations // steps > step * evaluations // steps:
            if not np.isfinite(value):
                raise SystemExit(f"the loss is {value} at step {step + 1}")
            seconds += time.perf_counter() - began
            errors.append(error(predict(parameters, held_out.images), held_out.labels))
            if errors[-1] < min(errors[:-1], default=np.inf):
                best = jax.tree.map(np.asarray, parameters)
            note(f"step {step + 1} of {steps}, {seconds:.0f} s: loss {value:.4f}, held-out error {errors[-1]:.2f} %")
            began = time.perf_counter()
    return Trained(best, errors, int(np.argmin(errors)), seconds)
