"""Custom routing in the layers of jaxcaps: `python examples/custom_routing.py`.

A routing takes the votes of one example, [in, out, dim]; the layer maps it over the batch. A routing without learned
parameters can be a plain function. A routing with learned parameters is a frozen dataclass that declares them and is
called with them; the layer owns them.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxcaps import DenseCaps, PrimaryCaps
from jaxcaps.functional import ParameterSpec, Routed, margin_loss, safe_norm, squash


def routed_by(couplings, votes):
    poses = squash(jnp.sum(couplings[:, :, None] * votes, axis=0))
    return Routed(poses, safe_norm(poses), couplings)


def loudest_routing(votes, in_activations=None):
    """Couples each input capsule with the output capsule of its longest vote."""
    return routed_by(jax.nn.softmax(safe_norm(votes), axis=1), votes)


@dataclass(frozen=True)
class FixedCouplings:
    """Couplings that do not depend on the picture: one learned logit per pair of capsules."""

    needs: ClassVar[tuple[str, ...]] = ()

    def parameters(self, shape):
        return {"logits": ParameterSpec((shape.in_capsules, shape.out_capsules), 0.0)}

    def __call__(self, votes, in_activations=None, *, logits):
        return routed_by(jax.nn.softmax(logits, axis=1), votes)


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


@nnx.jit
def step(model, optimizer, key):
    images, labels = draw(key, 64)
    gradients = nnx.grad(lambda model: jnp.mean(jax.vmap(margin_loss)(model(images).activations, labels)))(model)
    optimizer.update(model, gradients)


def accuracy_with(routing, steps: int) -> float:
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Conv(1, 32, kernel_size=(5, 5), strides=2, rngs=rngs),
        nnx.relu,
        PrimaryCaps(32, types=4, dim=8, kernel=3, stride=2, rngs=rngs),
        DenseCaps(3 * 3 * 4, 3, 8, 16, routing=routing, rngs=rngs),
    )
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    for key in jax.random.split(jax.random.key(1), steps):
        step(model, optimizer, key)
    images, labels = draw(jax.random.key(2), 300)
    return float(jnp.mean(jnp.argmax(model(images).activations, axis=1) == labels))


def main(steps: int = 100) -> float:
    """Returns the lower of the two accuracies."""
    accuracies = [accuracy_with(routing, steps) for routing in (loudest_routing, FixedCouplings())]
    function, description = accuracies
    print(f"accuracy on new pictures (chance 0.33): function {function:.2f}, description {description:.2f}")
    return min(accuracies)


if __name__ == "__main__":
    main()
