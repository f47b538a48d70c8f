"""Trains a capsule head on frozen features with plain optax: `python examples/finetune_head.py`.

The features are computed once; only the parameters of the head, a pytree, are trained. The frozen network has random
weights, so that the script needs no file. Replace it with your pre-trained network.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxcaps import DenseCaps, PrimaryCaps
from jaxcaps.functional import margin_loss


class Head(nnx.Module):
    """Maps features [rows, columns, channels] to one capsule per class."""

    def __init__(self, shape, classes: int, rngs: nnx.Rngs):
        rows, columns, channels = shape
        self.primary = PrimaryCaps(channels, types=4, dim=8, kernel=1, rngs=rngs)
        self.classes = DenseCaps(rows * columns * 4, classes, 8, 16, rngs=rngs)

    def __call__(self, features):
        return self.classes(self.primary(features))


def draw(key, count):
    """Noisy pictures of a horizontal bar, a vertical bar or both, at random positions, and their class."""
    places, kinds, noise = jax.random.split(key, 3)
    labels = jax.random.randint(kinds, (count,), 0, 3)
    row, column = jax.random.randint(places, (2, count, 1, 1), 3, 13)
    y, x = jnp.mgrid[:16, :16][:, None]
    lying = (y == row) & (jnp.abs(x - column) < 4) & (labels != 1)[:, None, None]
    standing = (x == column) & (jnp.abs(y - row) < 4) & (labels != 0)[:, None, None]
    bars = (lying | standing).astype(jnp.float32)[..., None]
    return bars + 0.2 * jax.random.normal(noise, bars.shape), labels


def main(steps: int = 120) -> float:
    rngs = nnx.Rngs(0)
    convolutions = nnx.Conv(1, 32, kernel_size=(5, 5), rngs=rngs), nnx.Conv(32, 32, kernel_size=(3, 3), rngs=rngs)

    @jax.jit
    def frozen(images):
        for convolution in convolutions:
            images = nnx.max_pool(nnx.relu(convolution(images)), (2, 2), strides=(2, 2))
        return images

    images, labels = draw(jax.random.key(1), 768)
    features = frozen(images)
    graph, parameters = nnx.split(Head(features.shape[1:], 3, rngs))
    optimizer = optax.adamw(optax.cosine_decay_schedule(1e-2, steps))

    def classify(parameters, features):
        return nnx.merge(graph, parameters)(features).activations

    def mean_loss(parameters, features, labels):
        return jnp.mean(jax.vmap(margin_loss)(classify(parameters, features), labels))

    @jax.jit
    def step(parameters, state, chosen):
        loss, gradients = jax.value_and_grad(mean_loss)(parameters, features[chosen], labels[chosen])
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state, loss

    state = optimizer.init(parameters)
    for key in jax.random.split(jax.random.key(2), steps):
        parameters, state, loss = step(parameters, state, jax.random.choice(key, len(images), (64,), replace=False))
    new_images, new_labels = draw(jax.random.key(3), 300)
    activations = jax.jit(classify)(parameters, frozen(new_images))
    accuracy = float(jnp.mean(jnp.argmax(activations, axis=1) == new_labels))
    print(f"after {steps} steps: loss {float(loss):.3f}, accuracy {accuracy:.2f} on new pictures (chance 0.33)")
    return accuracy


if __name__ == "__main__":
    main()
