"""The choice of the form: by the platform that a program is lowered for, under every transformation, on any mesh."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcaps.functional import EM, Dynamic, SelfAttention
from jaxcaps.functional.cpu.dispatch import SWITCH, choose
from jaxcaps.models.stem import GroupNorm
from jaxcaps.nnx import ClassCaps, ConvCaps, DenseCaps, PrimaryCaps
from tests.marks import slow

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="only a CPU has two forms to choose from")

# A function and its derivative, with a reverse pass that tells on itself: it is twice as large as the true one.


@jax.custom_vjp
def tuned(w, x):
    return jnp.sin(w * x), jnp.sum(x)


def tuned_forward(w, x):
    return tuned(w, x), (w, x, jnp.cos(w * x))


def tuned_reverse(kept, cotangents):
    w, x, cos = kept
    of_product, of_sum = cotangents
    return 2 * jnp.sum(of_product * cos * x), 2 * (of_product * cos * w + of_sum)


tuned.defvjp(tuned_forward, tuned_reverse)


def plain(w, x):
    return jnp.sin(w * x), jnp.sum(x)


chosen = partial(choose, tuned, plain)
W, X = np.float32(0.5), np.arange(3, dtype=np.float32)


def loss(function, w, x):
    product, total = function(w, x)
    return jnp.sum(product**2) + total


TRANSFORMED = {
    "as it is": lambda f: jax.grad(partial(loss, f), (0, 1)),
    "jit": lambda f: jax.jit(jax.grad(partial(loss, f), (0, 1))),
    "checkpoint": lambda f: jax.jit(jax.grad(partial(loss, jax.checkpoint(f)), (0, 1))),
    "vmap of grad": lambda f: jax.jit(
        lambda w, x: jax.vmap(jax.grad(partial(loss, f), (0, 1)), (None, 0))(w, jnp.stack([x, 2 * x]))
    ),
    "grad of vmap": lambda f: jax.jit(
        jax.grad(lambda w, x: jnp.sum(jax.vmap(partial(loss, f), (None, 0))(w, jnp.stack([x, 2 * x]))), (0, 1))
    ),
    "scan": lambda f: jax.jit(
        jax.grad(lambda w, x: jnp.sum(jax.lax.scan(lambda c, _: (c, loss(f, w, x)), x, None, 2)[1]), (0, 1))
    ),
}


@pytest.mark.parametrize("transformed", TRANSFORMED)
def test_the_reverse_pass_is_the_tuned_forms(transformed):
    found, true = (TRANSFORMED[transformed](form)(W, X) for form in (chosen, plain))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, jax.tree.map(lambda each: 2 * each, true))


def test_forward_mode_and_second_derivatives_are_the_plain_forms():
    def both(function):
        return jax.jit(
            lambda w, x: (
                jax.jvp(function, (w, x), (w, x)),
                jax.vmap(lambda t: jax.jvp(function, (w, x), (w, t)))(jnp.stack([x, 2 * x])),
                jax.jacfwd(jax.jacfwd(partial(loss, function), 1), 1)(w, x),
            )
        )(W, X)

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), both(chosen), both(plain))


def test_forward_over_reverse_differentiates_the_reverse_pass():
    found, true = (
        jax.jit(jax.hessian(partial(loss, form), (0, 1)))(W, X) for form in (partial(choose, plain, plain), plain)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, true)


def test_forms_may_close_over_traced_arrays():
    def closing(w, x):
        return choose(lambda x: tuned(w, x), lambda x: plain(w, x), x)

    found = jax.jit(jax.grad(partial(loss, closing), (0, 1)))(W, X)
    for ours, true in zip(found, jax.grad(partial(loss, plain), (0, 1))(W, X), strict=True):
        np.testing.assert_allclose(ours, 2 * true, rtol=1e-6)


def test_a_cotangent_of_zero_is_not_computed():
    """What nobody looks at costs nothing: only one of the two results is differentiated."""

    @jax.custom_vjp
    def second(x):
        return jnp.exp(x)

    second.defvjp(lambda x: (second(x), x), lambda x, cotangent: (jnp.cbrt(cotangent * x),))
    two = partial(choose, lambda x: (jnp.sin(x), second(x)), lambda x: (jnp.sin(x), jnp.exp(x)))
    assert "cbrt" not in jax.jit(jax.grad(lambda x: jnp.sum(two(x)[0]))).lower(X).as_text()
    assert "cbrt" in jax.jit(jax.grad(lambda x: jnp.sum(two(x)[1]))).lower(X).as_text()


# The layers


class Case(NamedTuple):
    """A layer, and the shapes of one example's arguments."""

    layer: nnx.Module
    shapes: tuple[tuple[int, ...], ...]

    def function(self):
        graph, state = nnx.split(self.layer)
        return (lambda state, *arrays: nnx.merge(graph, state)(*arrays)), state

    def draw(self, *batch):
        generator = np.random.default_rng(0)
        return [generator.uniform(size=(*batch, *shape)).astype(np.float32) for shape in self.shapes]


def made(name) -> Case:
    rngs = nnx.Rngs(0)
    if name == "PrimaryCaps":
        return Case(PrimaryCaps(16, 2, 4, kernel=3, stride=2, rngs=rngs), ((5, 5, 16),))
    if name == "DenseCaps":
        return Case(DenseCaps(16, 2, 2, 2, routing=Dynamic(2), rngs=rngs), ((16, 2),))
    if name == "DenseCaps(EM)":  # in tiles: more than 64 KiB of votes an example
        return Case(DenseCaps(1200, 4, 2, 16, routing=EM(2), rngs=rngs), ((1200, 2), (1200,)))
    if name == "ConvCaps(EM)":
        layer = ConvCaps(3, 2, 4, 4, kernel=2, routing=EM(2), transform="matrix", rngs=rngs)
        return Case(layer, ((3, 3, 3, 4), (3, 3, 3)))
    if name == "ClassCaps":
        return Case(ClassCaps(12, 12, 8, 4, 2, 16, rngs=rngs), ((12, 12, 8, 2),))
    return Case(GroupNorm(8, rngs=rngs), ((3, 3, 8),))


COUNTED = ("while", "dot_general", "convolution", "exponential", "reduce", "case")
LAYERS = ["PrimaryCaps", "DenseCaps", "DenseCaps(EM)", "ConvCaps(EM)", "ClassCaps", "GroupNorm"]


def layers(*default):
    """These layers in the default tests, the others in the slow ones."""
    return [*default, *slow(*(each for each in LAYERS if each not in default))]


def exported(function, platform, *arguments):
    return jax.export.export(jax.jit(function), platforms=[platform])(*arguments).mlir_module()


def summed(function):
    return lambda *arguments: sum(jnp.sum(jnp.sin(each)) for each in jax.tree.leaves(function(*arguments)))


@pytest.mark.parametrize("name", layers("DenseCaps"))
def test_a_program_for_cuda_that_is_made_on_a_cpu_holds_the_plain_form(name, monkeypatch):
    case = made(name)
    arguments = case.function()[1], *case.draw(32)

    def program(platform, differentiate=lambda function: function):
        return exported(differentiate(summed(case.function()[0])), platform, *arguments)

    def operations(text):
        return {word: text.count(f"stablehlo.{word} ") for word in COUNTED}

    cpu, cuda, gradient = program("cpu"), program("cuda"), program("cuda", jax.grad)
    monkeypatch.setenv(SWITCH, "0")
    plain, plain_gradient = program("cpu"), program("cpu", jax.grad)
    assert cpu != cuda
    assert operations(cuda) == operations(plain)
    # The reverse pass may compute the plain form again, and has no other loops.
    assert gradient.count("stablehlo.while") <= plain.count("stablehlo.while") + plain_gradient.count("stablehlo.while")
    assert gradient.count("optimization_barrier") == plain_gradient.count("optimization_barrier")


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize("name", [*layers("DenseCaps", "ConvCaps(EM)"), "DenseCaps(self-attention)"])
def test_a_batch_of_symbolic_size_exports(name, platform):
    if name == "DenseCaps(self-attention)":
        case = Case(DenseCaps(16, 2, 2, 2, routing=SelfAttention(), rngs=nnx.Rngs(0)), ((16, 2),))
    else:
        case = made(name)
    function, state = case.function()
    (batch,) = jax.export.symbolic_shape("b")
    shapes = [jax.ShapeDtypeStruct((batch, *shape), jnp.float32) for shape in case.shapes]
    program = jax.export.export(jax.jit(function), platforms=[platform])(state, *shapes)
    if platform == "cpu" and name == "DenseCaps":
        arrays = case.draw(9)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
            program.call(state, *arrays),
            jax.jit(function)(state, *arrays),
        )


@pytest.mark.parametrize("name", layers("PrimaryCaps", "DenseCaps"))
def test_forward_mode_works(name, monkeypatch):
    case = made(name)
    function, state = case.function()
    arguments = state, *case.draw(8)

    def tangents(function):
        return jax.jit(lambda *a: jax.jvp(function, a, a))

    if name in ("PrimaryCaps", "DenseCaps"):
        found = tangents(function)(*arguments)
        monkeypatch.setenv(SWITCH, "0")
        expected = tangents(case.function()[0])(*arguments)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)
    else:
        jax.eval_shape(tangents(function), *arguments)


@cache
def on_one_device(name):
    """Results and gradients of the plain form."""
    case = made(name)
    function, state = case.function()
    arrays = case.draw(64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "0")
        both = jax.jit(lambda *a: (function(*a), jax.grad(summed(function), argnums=tuple(range(len(a))))(*a)))
        return both(state, *arrays)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=str)
@pytest.mark.parametrize("name", layers("DenseCaps"))
def test_a_batch_that_is_sharded_over_a_mesh_stays_so(name, kind):
    case = made(name)
    function, state = case.function()
    # Eight examples on each device, for which a layer on one device takes the tuned form.
    arrays = case.draw(64)
    both = jax.jit(lambda *a: (function(*a), jax.grad(summed(function), argnums=tuple(range(len(a))))(*a)))
    expected = on_one_device(name)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        placed = (
            jax.device_put(state, NamedSharding(mesh, P())),
            *jax.device_put(arrays, NamedSharding(mesh, P("data"))),
        )
        program = both.lower(*placed).compile()
        found = program(*placed)
    results, (_, *by_arrays) = found
    for each in jax.tree.leaves((results, by_arrays)):
        assert each.sharding.spec[0] == "data"
    assert "all-gather" not in program.as_text()
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5 * max(1, np.abs(theirs).max()))


def test_a_shards_examples_take_the_tuned_form():
    """On a mesh of Explicit axes a device computes with its own examples as if there were no mesh."""
    case = made("DenseCaps")
    function, state = case.function()
    mesh = jax.make_mesh((8,), ("data",))
    with jax.set_mesh(mesh):
        arrays = jax.device_put(case.draw(64), NamedSharding(mesh, P("data")))
        text = jax.jit(function).lower(state, *arrays).as_text()
    assert "optimization_barrier" in text
