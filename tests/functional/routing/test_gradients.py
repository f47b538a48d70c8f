"""Gradients of every routing: against finite differences, at extremes, in half precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcaps import functional
from tests import references
from tests.functional.routing.cases import (
    BY_NAME,
    CASES,
    assert_close,
    assert_finite,
    draw,
    every_case,
    gradients_of,
    refer,
    settings_of,
)
from tests.gradients import assert_equal_finite_differences
from tests.marks import slow


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "detached-dynamic"], ids=str)
def test_gradients_equal_finite_differences_of_the_reference(case):
    # Without a loop and with one, in one compilation.
    passes = (1, 3) if case.iterations else (None,)

    def routed(arguments):
        return [tuple(case.function(**arguments, **case.settings, **settings_of(case, n))) for n in passes]

    def expected(arguments):
        return [refer(case, arguments, n) for n in passes]

    assert_equal_finite_differences(routed, (draw(case, dtype=np.float64),), reference=expected)


@pytest.mark.parametrize("iterations", [1, 3, *slow(2, 4)])
def test_detached_gradient_is_that_of_the_formula_with_constant_couplings(iterations):
    detached, whole = functional.detached_dynamic_routing, functional.dynamic_routing
    with jax.enable_x64(True):
        arguments = draw(BY_NAME["detached-dynamic"], dtype=np.float64, scale=2.0)
        _, _, couplings = references.dynamic_routing(**arguments, iterations=iterations)

        def formula(votes, in_activations, agreement_scale):  # no gradient reaches the scale
            shares = lax.stop_gradient(couplings) * in_activations[:, None]
            sums = jnp.sum(shares[:, :, None] * votes, axis=0)
            squared = jnp.sum(sums**2, axis=1, keepdims=True)
            poses = squared / (1 + squared) * sums / jnp.sqrt(squared)
            return poses, jnp.sqrt(jnp.sum(poses**2, axis=1)), couplings

        @jax.jit
        def gradients(arguments):
            functions = (formula, *(functools.partial(each, iterations=iterations) for each in (detached, whole)))
            return [
                jax.grad(lambda given, function=function: sum(jnp.sum(jnp.sin(each)) for each in function(**given)))(
                    arguments
                )
                for function in functions
            ]

        expected, found, other = gradients(arguments)
        assert_close(found.values(), expected.values(), 1e-10)
    assert np.abs(found["votes"] - other["votes"]).max() > 1e-2 or iterations == 1


EXTREMES = {
    "zero votes": {"votes": 0.0},
    "zero in activations": {"in_activations": 0.0},
    "zero votes and in activations": {"votes": 0.0, "in_activations": 0.0},
    "identical votes": {"votes": 0.7},
    "identical huge votes": {"votes": 1e4},
}


@pytest.mark.parametrize("dtype", [np.float32, *slow(jnp.bfloat16)], ids=["float32", "bfloat16"])
@every_case
def test_values_and_gradients_are_finite(case, dtype):
    for extreme in (*EXTREMES, "huge votes", "tiny votes"):
        arguments = draw(case, dtype=dtype, scale={"huge votes": 1e4, "tiny votes": 1e-20}.get(extreme, 1.0))
        for name, value in EXTREMES.get(extreme, {}).items():
            arguments[name] = np.full_like(arguments[name], value)
        assert_finite(gradients_of(case.name)(arguments))


@pytest.mark.parametrize(
    "case",
    [BY_NAME["dynamic"], BY_NAME["em"], *slow(*(each for each in CASES if each.name not in ("dynamic", "em")))],
    ids=str,
)
def test_bfloat16_votes_are_routed_in_float32(case):
    narrow = draw(case, dtype=jnp.bfloat16)
    wide = {name: value.astype(np.float32) for name, value in narrow.items()}
    (routed, gradients), expected = gradients_of(case.name)(narrow), gradients_of(case.name)(wide)
    assert {each.dtype for each in jax.tree.leaves((routed, gradients))} == {np.dtype(jnp.bfloat16)}
    # Rounded once, at the end.
    assert_close(routed, expected[0], 2**-8)


# One of those that squash, and the two that do otherwise.
NORMS = ("dynamic", "self-attention", "inverted-attention")


@pytest.mark.parametrize(
    "case",
    [
        *(BY_NAME[name] for name in NORMS),
        *slow(*(case for case in CASES if case.norms and case.name not in NORMS)),
    ],
    ids=str,
)
def test_the_gradient_of_a_class_norm_is_zero_at_zero(case):
    gradient = jax.jit(jax.grad(lambda votes: jnp.sum(case.function(votes).activations)))
    zeros = np.zeros((6, 3, 4), np.float32)
    np.testing.assert_array_equal(gradient(zeros), zeros)


@every_case
def test_in_activations_matter(case):
    arguments = draw(case)
    _, gradients = gradients_of(case.name)(arguments)
    assert np.all(np.abs(gradients["in_activations"]) > 1e-6)
