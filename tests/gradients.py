"""Derivatives against finite differences, as `jax.test_util.check_grads`, in fewer and smaller programs."""

import jax
import numpy as np

# Those of `check_grads` in float64.
STEP = 1e-4
TOLERANCE = 1e-5
# Of the values that the derivatives come with.
VALUE_TOLERANCE = 1e-10


def assert_equal_finite_differences(function, arguments, reference=None):
    """Compares the forward and the reverse mode with central differences, along one random direction, in float64.

    Args:
        function: to differentiate by all its arguments.
        arguments: a tuple of trees of float64 arrays.
        reference: what to take the differences of; an independent form of the function, or else the function itself.
    """
    generator = np.random.default_rng(0)

    def draw_like(tree):
        return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), tree)

    @jax.jit
    def both_modes(arguments, tangents, cotangents):
        value, forward = jax.jvp(function, arguments, tangents)
        return value, forward, jax.vjp(function, *arguments)[1](cotangents)

    with jax.enable_x64(True):
        tangents = draw_like(arguments)
        evaluate = jax.jit(function) if reference is None else reference

        def value_at(step):
            moved = jax.tree.map(lambda x, tangent: x + step * tangent, arguments, tangents)
            return jax.tree.map(np.asarray, evaluate(*moved))

        below, here, above = value_at(-STEP), value_at(0), value_at(STEP)
        cotangents = draw_like(here)
        value, forward, reverse = jax.tree.map(np.asarray, both_modes(arguments, tangents, cotangents))
    differences = jax.tree.map(lambda low, high: (high - low) / (2 * STEP), below, above)
    for found, expected, tolerance in ((value, here, VALUE_TOLERANCE), (forward, differences, TOLERANCE)):
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert (ours.dtype, ours.shape) == (np.float64, theirs.shape)
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    by_arguments, by_results = inner_product(reverse, tangents), inner_product(cotangents, differences)
    np.testing.assert_allclose(by_arguments, by_results, rtol=TOLERANCE, atol=TOLERANCE)


def inner_product(some, others):
    return sum(np.vdot(one, other) for one, other in zip(*map(jax.tree.leaves, (some, others)), strict=True))
