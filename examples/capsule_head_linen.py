"""A capsule head on an existing Flax Linen network: `python examples/capsule_head_linen.py`.

The same as `capsule_head_nnx.py` with Linen's layers, which infer the input sizes at initialisation.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxcaps.functional import margin_loss
from jaxcaps.linen import DenseCaps, PrimaryCaps


class CapsuleClassifier(nn.Module):
    """A CNN up to its last feature map, then capsules in place of a dense layer."""

    @nn.compact
    def __call__(self, images):
        x = nn.max_pool(nn.relu(nn.Conv(16, (3, 3))(images)), (2, 2), strides=(2, 2))
        x = nn.max_pool(nn.relu(nn.Conv(32, (3, 3))(x)), (2, 2), strides=(2, 2))
        poses = PrimaryCaps(types=4, dim=8, kernel=1)(x)
        return DenseCaps(out_capsules=3, out_dim=16)(poses)


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


MODEL = CapsuleClassifier()
OPTIMIZER = optax.adam(3e-3)


def mean_loss(parameters, images, labels):
    return jnp.mean(jax.vmap(margin_loss)(MODEL.apply(parameters, images).activations, labels))


@jax.jit
def step(parameters, state, key):
    loss, gradients = jax.value_and_grad(mean_loss)(parameters, *draw(key, 64))
    updates, state = OPTIMIZER.update(gradients, state)
    return optax.apply_updates(parameters, updates), state, loss


def main(steps: int = 60) -> float:
    images, labels = draw(jax.random.key(2), 300)
    parameters = jax.jit(MODEL.init)(jax.random.key(0), images)
    state = OPTIMIZER.init(parameters)
    for key in jax.random.split(jax.random.key(1), steps):
        parameters, state, loss = step(parameters, state, key)
    activations = jax.jit(MODEL.apply)(parameters, images).activations
    accuracy = float(jnp.mean(jnp.argmax(activations, axis=1) == labels))
    print(f"after {steps} steps: loss {float(loss):.3f}, accuracy {accuracy:.2f} on new pictures (chance 0.33)")
    return accuracy


if __name__ == "__main__":
    main()
