"""Every routing, with its function, its reference and what it promises: the table that the tests here go through."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcaps import functional
from jaxcaps.functional import Routed, RoutingShape
from tests import references

LENGTHS = {"in": 6, "out": 3, "dim": 4, "in_dim": 5}
SHAPE = RoutingShape(LENGTHS["in"], LENGTHS["out"], LENGTHS["in_dim"], LENGTHS["dim"])
# Three, the default of most, are in every other test.
ITERATIONS = (1, 2, 4)


class Case(NamedTuple):
    """One algorithm.

    Attributes:
        name: the key of its description.
        function: the pure function.
        reference: takes what the function takes; returns poses, activations and couplings.
        arguments: the axes of what it takes beside votes and in activations.
        neutral: of those arguments that may be left out, what leaving them out means.
        settings: what the tests set it to, so that every setting and every term matters.
        iterations: how many there are by default; None where it does not iterate.
        rows_sum_to_one: whether an in capsule's couplings do.
        norms: whether activations are (multiples of) the norms of the poses.
    """

    name: str
    function: Callable[..., Routed]
    reference: Callable[..., Any]
    arguments: Mapping[str, str] = {}
    neutral: Mapping[str, float] = {}
    settings: Mapping[str, float] = {}
    iterations: int | None = 3
    rows_sum_to_one: bool = True
    norms: bool = False

    def __str__(self):
        return self.name

    @property
    def most(self):
        return 1 if self.iterations is None else len(ITERATIONS)


SCALE = {"arguments": {"agreement_scale": ""}, "neutral": {"agreement_scale": 1.0}}
CASES = [
    Case("dynamic", functional.dynamic_routing, references.dynamic_routing, norms=True, **SCALE),
    # The values are the same, the gradient is not.
    Case("detached-dynamic", functional.detached_dynamic_routing, references.dynamic_routing, norms=True, **SCALE),
    Case(
        "leaky-dynamic",
        functional.leaky_dynamic_routing,
        references.leaky_dynamic_routing,
        rows_sum_to_one=False,
        norms=True,
        **SCALE,
    ),
    Case(
        "em",
        functional.em_routing,
        references.em_routing,
        arguments={"beta_a": "out", "beta_u": "out"},
        settings={"inverse_temperature": 5.0, "variance_floor": 0.2, "cost_scale": 0.5},
    ),
    Case(
        "variational",
        functional.variational_routing,
        references.variational_routing,
        arguments={"beta_a": "out", "beta_u": "out"},
        settings={"mixing_prior": 2.0, "mean_prior": 0.5, "scale_prior": 1.5},
    ),
    Case(
        "self-attention",
        functional.self_attention_routing,
        references.self_attention_routing,
        arguments={"prior": "in out"},
        neutral={"prior": 0.0},
        iterations=None,
        rows_sum_to_one=False,
        norms=True,
    ),
    Case(
        "inverted-attention",
        functional.inverted_attention_routing,
        references.inverted_attention_routing,
        arguments={"norm_scale": "dim", "norm_bias": "dim", "initial_poses": "out dim"},
        neutral={"norm_scale": 1.0, "norm_bias": 0.0, "initial_poses": 0.0},
        iterations=2,
        norms=True,
    ),
    Case(
        "self-routing",
        functional.self_routing,
        references.self_routing,
        arguments={"in_poses": "in in_dim", "gate_weights": "in out in_dim", "gate_bias": "in out"},
        neutral={"gate_bias": 0.0},
        iterations=None,
    ),
    Case(
        "heinsen",
        functional.heinsen_routing,
        references.heinsen_routing,
        arguments={"beta_use": "in out", "beta_ignore": "in out"},
    ),
    Case("uniform", functional.uniform_routing, references.uniform_routing, iterations=None, norms=True),
]
BY_NAME = {case.name: case for case in CASES}
ITERATED = [case for case in CASES if case.iterations is not None]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_iterated_case = pytest.mark.parametrize("case", ITERATED, ids=str)


def draw(case, seed=0, dtype=np.float32, scale=1.0, batch=()):
    """Arguments for the function of a case: all that it takes."""
    generator = np.random.default_rng(seed)

    def normal(axes):
        return generator.normal(size=(*batch, *(LENGTHS[axis] for axis in axes.split())))

    arguments = {"votes": scale * normal("in out dim")}
    arguments["in_activations"] = generator.uniform(0.1, 1, (*batch, LENGTHS["in"]))
    arguments |= {name: normal(axes) for name, axes in case.arguments.items()}
    return {name: np.asarray(value, dtype) for name, value in arguments.items()}


def settings_of(case, iterations=None):
    """`iterations` where the case has them; nothing for those that do not iterate."""
    return {} if case.iterations is None else {"iterations": iterations or case.iterations}


@functools.cache
def compiled(name):
    """The function of a case under its settings, for arguments by name."""
    case = BY_NAME[name]
    static = ["iterations"] if case.iterations else []
    return jax.jit(functools.partial(case.function, **case.settings), static_argnames=static)


def route(case, arguments, iterations=None):
    """The result of so many iterations, or of as many as there are by default."""
    settings = {} if iterations is None else {"iterations": iterations}
    return compiled(case.name)(**arguments, **settings)


@functools.cache
def gradients_of(name):
    """The result and the gradient of one number made of all of it, by all arguments."""
    case = BY_NAME[name]

    def loss(arguments):
        routed = case.function(**arguments, **case.settings)
        return sum(jnp.sum(jnp.sin(each.astype(jnp.float32))) for each in routed), routed

    gradient = jax.grad(loss, has_aux=True)
    return jax.jit(lambda arguments: gradient(arguments)[::-1])


def refer(case, arguments, iterations=None):
    return case.reference(**arguments, **case.settings, **settings_of(case, iterations))


def assert_close(values, expected, tolerance):
    """Relative to the size of an element, and of the largest for those that cancel."""
    for value, wanted in zip(values, expected, strict=True):
        value, wanted = np.asarray(value, np.float64), np.asarray(wanted, np.float64)
        assert value.shape == wanted.shape
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


def assert_finite(tree):
    for leaf in jax.tree.leaves(tree):
        assert np.all(np.isfinite(np.asarray(leaf, np.float32)))


def permuted(case, arguments, axis, order):
    axes = {"votes": "in out dim", "in_activations": "in", **case.arguments}
    return {
        name: np.take(value, order, axes[name].split().index(axis)) if axis in axes[name].split() else value
        for name, value in arguments.items()
    }
