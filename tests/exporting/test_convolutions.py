"""The rewritten program gives the same values, and has only convolutions that ONNX has."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcaps.exporting.convolutions import evaluate

LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolutions(jaxpr):
    """The parameters of all convolutions, calls included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation.params
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda each: hasattr(each, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from convolutions(inner.jaxpr)


def network(inputs, kernel):
    """Convolutions with dilated inputs, of one and of different distances, crops, strides and pads, in calls."""

    def convolve(inputs, padding, strides, dilation):
        return lax.conv_general_dilated(inputs, kernel, strides, padding, dilation, (1, 1), LAYOUT)

    spread = jax.jit(lambda inputs: convolve(inputs, ((2, 1), (1, 2)), (1, 1), (2, 3)))(inputs)
    cropped = jax.nn.relu(convolve(spread, ((-1, 2), (0, -3)), (2, 1), (1, 1)))
    transposed = lax.conv_transpose(cropped, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)
    return {"transposed": transposed, "both": convolve(transposed, ((-2, 1), (0, 1)), (1, 2), (3, 1))}


def test_the_rewritten_program_gives_the_same_and_has_plain_convolutions():
    numbers = np.random.default_rng(0)
    inputs, kernel = numbers.normal(size=(2, 5, 6, 2)), numbers.normal(size=(3, 3, 2, 2))
    inputs, kernel = inputs.astype(np.float32), kernel.astype(np.float32)
    (batch,) = jax.export.symbolic_shape("batch")
    program = jax.make_jaxpr(network)(jax.ShapeDtypeStruct((batch, *inputs.shape[1:]), jnp.float32), kernel)
    assert any(each["lhs_dilation"] != (1, 1) for each in convolutions(program.jaxpr))
    fixed = jax.make_jaxpr(network)(inputs, kernel)
    rewritten = jax.make_jaxpr(lambda *given: evaluate(fixed, *given))(inputs, kernel)
    found = list(convolutions(rewritten.jaxpr))
    assert len(found) == len(list(convolutions(program.jaxpr))) == 4
    for each in found:
        assert each["lhs_dilation"] == (1, 1)
        assert min(min(pair) for pair in each["padding"]) >= 0
    # In the order in which JAX flattens a dictionary.
    both, transposed = jax.jit(lambda *given: evaluate(fixed, *given))(inputs, kernel)
    expected = jax.jit(network)(inputs, kernel)
    np.testing.assert_allclose(both, expected["both"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(transposed, expected["transposed"], rtol=1e-4, atol=1e-4)


def test_loops_are_unrolled_and_pads_are_joined():
    def program(x, rows):
        def step(carry, row):
            return (carry[0] * 0.5 + row, carry[1] + 1), (carry[0], row * 2)

        both = [lax.scan(step, (x, jnp.float32(0)), rows, reverse=reverse) for reverse in (False, True)]
        return both, lax.pad(rows, jnp.float32(3), ((1, 0, 0), (0, 2, 0)))

    x, rows = np.arange(2, dtype=np.float32), np.arange(6, dtype=np.float32).reshape(3, 2)
    traced = jax.make_jaxpr(program)(x, rows)
    rewritten = jax.make_jaxpr(lambda *given: evaluate(traced, *given))(x, rows)
    assert not {"scan", "pad"} & {equation.primitive.name for equation in rewritten.jaxpr.eqns}
    found = jax.jit(lambda *given: evaluate(traced, *given))(x, rows)
    for mine, theirs in zip(found, jax.tree.leaves(jax.jit(program)(x, rows)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
