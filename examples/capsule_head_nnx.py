"""A capsule head on an existing Flax NNX network: `python examples/capsule_head_nnx.py`.

The convolutions are those of an ordinary CNN. In place of a dense layer, primary capsules read the last feature map,
and one capsule per class is routed from them. Its length encodes the presence of the class, its direction the
properties.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxcaps import DenseCaps, PrimaryCaps
from jaxcaps.functional import margin_loss


class CNN(nnx.Module):
    """Two convolutions, from 16x16 pictures to a 4x4x32 map."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 16, kernel_size=(3, 3), rngs=rngs)
        self.second = nnx.Conv(16, 32, kernel_size=(3, 3), rngs=rngs)

    def __call__(self, images):
        x = nnx.max_pool(nnx.relu(self.first(images)), (2, 2), strides=(2, 2))
        return nnx.max_pool(nnx.relu(self.second(x)), (2, 2), strides=(2, 2))


class CapsuleClassifier(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.backbone = CNN(rngs)
        self.primary = PrimaryCaps(32, types=4, dim=8, kernel=1, rngs=rngs)
        self.classes = DenseCaps(4 * 4 * 4, 3, 8, 16, rngs=rngs)

    def __call__(self, images):
        return self.classes(self.primary(self.backbone(images)))


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


def mean_loss(model, images, labels):
    return jnp.mean(jax.vmap(margin_loss)(model(images).activations, labels))


@nnx.jit
def step(model, optimizer, key):
    loss, gradients = nnx.value_and_grad(mean_loss)(model, *draw(key, 64))
    optimizer.update(model, gradients)
    return loss


def main(steps: int = 60) -> float:
    model = CapsuleClassifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    for key in jax.random.split(jax.random.key(1), steps):
        loss = step(model, optimizer, key)
    images, labels = draw(jax.random.key(2), 300)
    accuracy = float(jnp.mean(jnp.argmax(model(images).activations, axis=1) == labels))
    print(f"after {steps} steps: loss {float(loss):.3f}, accuracy {accuracy:.2f} on new pictures (chance 0.33)")
    return accuracy


if __name__ == "__main__":
    main()
