"""All routing algorithms by one table: against the references, hand-worked values, gradients, extremes, properties."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxcaps import functional
from jaxcaps.functional import ROUTINGS, Routed, Routing, RoutingShape, named_routing, over_batch
from tests import references

LENGTHS = {"in": 6, "out": 3, "dim": 4, "in_dim": 5}
SHAPE = RoutingShape(LENGTHS["in"], LENGTHS["out"], LENGTHS["in_dim"], LENGTHS["dim"])
ITERATIONS = (1, 2, 3, 4)


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


CASES = [
    Case("dynamic", functional.dynamic_routing, references.dynamic_routing, norms=True),
    # The values are the same, the gradient is not.
    Case("detached-dynamic", functional.detached_dynamic_routing, references.dynamic_routing, norms=True),
    Case(
        "leaky-dynamic",
        functional.leaky_dynamic_routing,
        references.leaky_dynamic_routing,
        rows_sum_to_one=False,
        norms=True,
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
ITERATED = [case for case in CASES if case.iterations is not None]
# Each case with each number of iterations; None for those that do not iterate.
PASSES = [(case, n) for case in CASES for n in (ITERATIONS if case.iterations else (None,))]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_iterated_case = pytest.mark.parametrize("case", ITERATED, ids=str)
every_case_with_norms = pytest.mark.parametrize("case", [case for case in CASES if case.norms], ids=str)


def draw(case, seed=0, dtype=np.float32, scale=1.0, batch=()):
    """Arguments for the function of a case: all that it takes."""
    generator = np.random.default_rng(seed)

    def normal(axes):
        return generator.normal(size=(*batch, *(LENGTHS[axis] for axis in axes.split())))

    arguments = {"votes": scale * normal("in out dim")}
    arguments["in_activations"] = generator.uniform(0.1, 1, (*batch, LENGTHS["in"]))
    arguments |= {name: normal(axes) for name, axes in case.arguments.items()}
    return {name: value.astype(dtype) for name, value in arguments.items()}


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
    return compiled(case.name)(**arguments, **settings_of(case, iterations))


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


# The table


def test_the_table_holds_every_routing():
    assert list(BY_NAME) == list(ROUTINGS)


@pytest.mark.parametrize(("case", "iterations"), PASSES, ids=str)
def test_equals_the_reference(case, iterations):
    arguments = draw(case)
    assert_close(route(case, arguments, iterations), refer(case, arguments, iterations), 1e-5)
    with jax.enable_x64(True):
        arguments = draw(case, dtype=np.float64)
        routed = route(case, arguments, iterations)
        assert {each.dtype for each in routed} == {np.dtype(np.float64)}
        assert_close(routed, refer(case, arguments, iterations), 1e-10)


@every_case
def test_arguments_left_out_are_neutral(case):
    arguments = draw(case)
    neutral = {"in_activations": np.ones_like(arguments["in_activations"])}
    neutral |= {name: np.full_like(arguments[name], value) for name, value in case.neutral.items()}
    given = {name: value for name, value in arguments.items() if name not in neutral}
    assert_close(route(case, given), route(case, arguments | neutral), 1e-5)
    assert_close(route(case, given), refer(case, given), 1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "detached-dynamic"], ids=str)
def test_gradients_equal_finite_differences(case):
    # All numbers of iterations in one compilation.
    def results(arguments):
        return [case.function(**arguments, **case.settings, **settings_of(case, n)) for n in ITERATIONS[: case.most]]

    with jax.enable_x64(True):
        check_grads(jax.jit(results), (draw(case, dtype=np.float64),), order=1, modes=("fwd", "rev"))


@pytest.mark.parametrize("iterations", ITERATIONS)
def test_detached_gradient_is_that_of_the_formula_with_constant_couplings(iterations):
    detached, whole = functional.detached_dynamic_routing, functional.dynamic_routing
    with jax.enable_x64(True):
        arguments = draw(BY_NAME["detached-dynamic"], dtype=np.float64, scale=2.0)
        _, _, couplings = references.dynamic_routing(**arguments, iterations=iterations)

        def formula(votes, in_activations):
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


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("extreme", [*EXTREMES, "huge votes", "tiny votes"])
@every_case
def test_values_and_gradients_are_finite(case, extreme, dtype):
    arguments = draw(case, dtype=dtype, scale={"huge votes": 1e4, "tiny votes": 1e-20}.get(extreme, 1.0))
    for name, value in EXTREMES.get(extreme, {}).items():
        arguments[name] = np.full_like(arguments[name], value)
    routed, gradients = gradients_of(case.name)(arguments)
    assert_finite(routed)
    assert_finite(gradients)


@every_case
def test_bfloat16_votes_are_routed_in_float32(case):
    narrow = draw(case, dtype=jnp.bfloat16)
    wide = {name: value.astype(np.float32) for name, value in narrow.items()}
    (routed, gradients), expected = gradients_of(case.name)(narrow), gradients_of(case.name)(wide)
    assert {each.dtype for each in jax.tree.leaves((routed, gradients))} == {np.dtype(jnp.bfloat16)}
    # Rounded once, at the end.
    assert_close(routed, expected[0], 2**-8)


@every_case_with_norms
def test_the_gradient_of_a_class_norm_is_zero_at_zero(case):
    gradient = jax.jit(jax.grad(lambda votes: jnp.sum(case.function(votes).activations)))
    np.testing.assert_array_equal(gradient(jnp.zeros((6, 3, 4))), np.zeros((6, 3, 4)))


# Properties


@every_case
def test_each_in_capsules_couplings_sum_to_one_over_the_out_capsules(case):
    arguments = draw(case, scale=2.0)
    couplings = np.asarray(route(case, arguments).couplings)
    rows = couplings.sum(axis=1)
    if case.name == "leaky-dynamic":
        assert np.all((couplings > 0) & (rows[:, None] < 1))
    elif case.name == "self-attention":
        np.testing.assert_allclose(rows, 1 + arguments["prior"].sum(axis=1), rtol=1e-5, atol=1e-5)
    else:
        assert np.all(couplings >= 0)
        np.testing.assert_allclose(rows, np.ones(6), rtol=1e-5)


@every_case
def test_the_softmax_is_not_over_the_in_capsules(case):
    columns = np.asarray(route(case, draw(case, scale=2.0)).couplings).sum(axis=0)
    assert np.abs(columns - 1).max() > 0.1


def permuted(case, arguments, axis, order):
    axes = {"votes": "in out dim", "in_activations": "in", **case.arguments}
    return {
        name: np.take(value, order, axes[name].split().index(axis)) if axis in axes[name].split() else value
        for name, value in arguments.items()
    }


@every_case
def test_the_order_of_in_capsules_does_not_matter(case):
    arguments, order = draw(case), np.random.default_rng(1).permutation(6)
    plain, moved = route(case, arguments), route(case, permuted(case, arguments, "in", order))
    assert_close(moved, (plain.poses, plain.activations, plain.couplings[order]), 1e-5)


@every_case
def test_permuted_out_capsules_give_permuted_results(case):
    arguments, order = draw(case), np.array([2, 0, 1])
    plain, moved = route(case, arguments), route(case, permuted(case, arguments, "out", order))
    assert_close(moved, (plain.poses[order], plain.activations[order], plain.couplings[:, order]), 1e-5)


@every_iterated_case
def test_three_iterations_are_three_and_not_two_or_four(case):
    arguments = draw(case)
    by_default, _ = gradients_of(case.name)(arguments)
    assert_close(by_default, refer(case, arguments), 1e-5)
    for other in set(ITERATIONS) - {case.iterations}:
        assert np.abs(by_default.couplings - route(case, arguments, other).couplings).max() > 1e-3


@every_case
def test_in_activations_matter(case):
    arguments = draw(case)
    _, gradients = gradients_of(case.name)(arguments)
    assert np.all(np.abs(gradients["in_activations"]) > 1e-6)


# In self-attention its vote still attracts the others'.
@pytest.mark.parametrize("case", [case for case in CASES if case.name != "self-attention"], ids=str)
def test_a_silent_in_capsules_vote_moves_no_pose(case):
    arguments = draw(case)
    arguments["in_activations"][5] = 0
    moved = arguments["votes"] + 10 * (np.arange(6) == 5)[:, None, None].astype(np.float32)
    plain, shifted = route(case, arguments), route(case, arguments | {"votes": moved})
    assert_close(shifted[:2], plain[:2], 1e-5)


@every_case
def test_the_tile_of_a_batch_changes_nothing(case):
    arguments = draw(case)
    learned = {name: jnp.asarray(arguments[name]) for name in case.arguments if name != "in_poses"}
    mapped = {name: value for name, value in draw(case, batch=(4,)).items() if name not in learned}

    @jax.jit
    def tiled(mapped):
        def one(example):
            return case.function(**example, **learned, **case.settings)

        return [over_batch(one, tile=tile)(mapped) for tile in (None, 1, 3)]

    whole, *tiles = tiled(mapped)
    for routed in tiles:
        assert_close(routed, whole, 1e-5)
    alone = route(case, learned | {name: value[2] for name, value in mapped.items()})
    assert_close((each[2] for each in whole), alone, 1e-5)


@every_case
def test_the_description_routes_as_the_function_does(case):
    settings = {**case.settings, **settings_of(case)}
    description = named_routing(case.name, **settings)
    assert isinstance(description, Routing)
    assert description == named_routing(case.name, **settings)
    assert hash(description) == hash(named_routing(case.name, **settings))
    arguments = draw(case)
    votes, in_activations, *_ = arguments.values()
    others = {name: arguments[name] for name in case.arguments}
    assert_close(jax.jit(description)(votes, in_activations, **others), route(case, arguments), 1e-5)


@every_case
def test_the_description_asks_for_what_the_function_takes(case):
    description = ROUTINGS[case.name]()
    specs = description.parameters(SHAPE)
    assert set(specs) == set(case.arguments) - {"in_poses", "initial_poses"}
    for name, spec in specs.items():
        assert spec.shape == tuple(LENGTHS[axis] for axis in case.arguments[name].split())
        # What may be left out starts as if it were.
        assert spec.initial == case.neutral.get(name, spec.initial)
    assert ("in_poses" in description.needs) == ("in_poses" in case.arguments)
    assert getattr(description, "iterations", None) == case.iterations


# Values worked by hand, and what each paper does in its own way


def routed_by(function, votes, in_activations=None, **others):
    """The result in float32. Arrays may be lists; numbers are settings."""
    settings = {name: value for name, value in others.items() if np.isscalar(value)}
    arrays = {name: value for name, value in others.items() if name not in settings} | {"votes": votes}
    if in_activations is not None:
        arrays["in_activations"] = in_activations
    arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    return jax.jit(functools.partial(function, **settings))(**arrays)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def test_leaky_routing_by_hand():
    # One in capsule, votes (3, 0) and (0, 0). Couplings 1/3, so a sum of (1, 0) and a pose of 1/2 along x; agreement
    # 3/2 and 0, beside the leak's 0.
    routed = routed_by(functional.leaky_dynamic_routing, [[[3, 0], [0, 0]]], iterations=1)
    np.testing.assert_allclose(routed.couplings, [[1 / 3, 1 / 3]], rtol=1e-6)
    np.testing.assert_allclose(routed.poses, [[0.5, 0], [0, 0]], rtol=1e-6)
    routed = routed_by(functional.leaky_dynamic_routing, [[[3, 0], [0, 0]]], iterations=2)
    total = np.exp(1.5) + 2
    np.testing.assert_allclose(routed.couplings, [[np.exp(1.5) / total, 1 / total]], rtol=1e-6)
    length = 3 * np.exp(1.5) / total
    np.testing.assert_allclose(routed.activations, [length**2 / (1 + length**2), 0], rtol=1e-6)


def test_detached_gradient_by_hand():
    # One in capsule, votes x = 2 and 0 of one dimension. First pose (x/2)^2 / (1 + (x/2)^2) = 1/2, agreement b = 1, so
    # a coupling of c = e / (e + 1), a sum of s = 2 c and a last pose of s^2 / (1 + s^2), whose derivative by s is
    # 2 s / (1 + s^2)^2. With c constant ds/dx = c. Through it also x dc/dx = x c (1 - c) db/dx, where
    # db/dx = 1/2 + 2 * 1/4 = 1.
    def gradient(function):
        return jax.jit(jax.grad(lambda votes: function(votes, iterations=2).poses[0, 0]))(jnp.array([[[2.0], [0.0]]]))

    c = np.e / (np.e + 1)
    by_sum = 4 * c / (1 + 4 * c**2) ** 2
    detached, whole = gradient(functional.detached_dynamic_routing), gradient(functional.dynamic_routing)
    np.testing.assert_allclose(detached[0, 0, 0], by_sum * c, rtol=1e-5)
    np.testing.assert_allclose(whole[0, 0, 0], by_sum * (c + 2 * c * (1 - c)), rtol=1e-5)


def test_uniform_routing_by_hand():
    # Halves of (2, 0) + (0, 0) and of (0, 1) + (0, 3): norms 1 and 2, squashed to 1/2 and 4/5.
    routed = routed_by(functional.uniform_routing, [[[2, 0], [0, 1]], [[0, 0], [0, 3]]])
    np.testing.assert_allclose(routed.poses, [[0.5, 0], [0, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(routed.activations, [0.5, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(routed.couplings, np.full((2, 2), 0.5))


def test_uniform_routing_is_the_first_iteration_of_dynamic_routing():
    arguments = draw(BY_NAME["uniform"])
    assert_close(route(BY_NAME["uniform"], arguments), route(BY_NAME["dynamic"], arguments, 1), 1e-6)


# lambda is 20 (1 - 0.95^(t + 1)): 1 in the first iteration, 1.95 in the second.
UNIT_TEMPERATURE = {"inverse_temperature": 20.0}


def test_em_m_step_by_hand():
    # Two in capsules of activation 1 and 1/3, so shares 1/2 and 1/6 and a mass of 2/3. The first out capsule's votes 1
    # and 3 have mean (1/2 + 1/2) / (2/3) = 3/2 and variance (1/2 * 1/4 + 1/6 * 9/4) / (2/3) = 3/4; the second's are
    # both 5, with variance 0, which is floored to 1/4.
    routed = routed_by(
        functional.em_routing,
        [[[1], [5]], [[3], [5]]],
        [1, 1 / 3],
        beta_a=[0.5, 1.0],
        beta_u=[0.3, -0.2],
        iterations=1,
        variance_floor=0.25,
        **UNIT_TEMPERATURE,
    )
    np.testing.assert_allclose(routed.poses, [[1.5], [5]], rtol=1e-6)
    costs = [(0.3 + np.log(np.sqrt(0.75))) * 2 / 3, (-0.2 + np.log(0.5)) * 2 / 3]
    np.testing.assert_allclose(routed.activations, [logistic(0.5 - costs[0]), logistic(1 - costs[1])], rtol=1e-5)
    np.testing.assert_array_equal(routed.couplings, np.full((2, 2), 0.5))


def test_em_e_step_by_hand():
    # One in capsule: each out capsule's mean is its vote and its variance the floor, 1, so the densities are equal and
    # cost nothing but beta_u = 0. Activations logistic(ln 3) = 3/4 and 1/2 give couplings 3/5 and 2/5.
    routed = routed_by(
        functional.em_routing,
        [[[7, -1], [2, 4]]],
        beta_a=[np.log(3), 0],
        beta_u=[0, 0],
        iterations=2,
        variance_floor=1.0,
        **UNIT_TEMPERATURE,
    )
    np.testing.assert_allclose(routed.couplings, [[0.6, 0.4]], rtol=1e-5)
    np.testing.assert_allclose(routed.poses, [[7, -1], [2, 4]], rtol=1e-6)
    np.testing.assert_allclose(routed.activations, [logistic(1.95 * np.log(3)), 0.5], rtol=1e-5)


def test_em_heeds_the_in_activations_that_a_popular_pytorch_version_ignores():
    case = BY_NAME["em"]
    arguments = draw(case)
    ignored = route(case, arguments | {"in_activations": np.ones(6, np.float32)})
    for heeded, other in zip(route(case, arguments), ignored, strict=True):
        assert np.abs(heeded - other).max() > 1e-2
    # An in capsule that is off counts as one that is not there.
    arguments["in_activations"][2] = 0
    others = np.delete(np.arange(6), 2)
    absent = refer(case, permuted(case, arguments, "in", others))
    assert_close(route(case, arguments)[:2], absent[:2], 1e-5)


def test_em_stays_in_the_log_domain():
    # The last in capsule hardly counts, so the variances are those of the others' tight votes, floored to 1e-3, and its
    # own votes, 10 and 9 away from them, have densities of about exp(-50000) and exp(-40000): 0 and 0 outside of it.
    votes = np.zeros((5, 2, 1), np.float32)
    votes[4] = [[10], [9]]
    in_activations = np.array([1, 1, 1, 1, 1e-9], np.float32)
    betas = {"beta_a": np.zeros(2, np.float32), "beta_u": np.zeros(2, np.float32)}
    routed = routed_by(functional.em_routing, votes, in_activations, iterations=2, **betas)
    np.testing.assert_allclose(routed.couplings[4], [0, 1])
    assert_close(routed, references.em_routing(votes, 2, in_activations, **betas), 1e-5)


def test_em_passes_its_gradient_through_the_couplings():
    # Detached couplings, which dynamic routing survives, break EM.
    case = BY_NAME["em"]
    arguments = draw(case)
    fixed = jnp.asarray(route(case, arguments).couplings)

    def mean(couplings, arguments):
        shares = couplings * arguments["in_activations"][:, None]
        return jnp.sum((shares / jnp.sum(shares, axis=0, keepdims=True))[:, :, None] * arguments["votes"], axis=0)

    def gradient(couple):
        return jax.jit(jax.grad(lambda arguments: jnp.sum(jnp.sin(mean(couple(arguments), arguments)))))(arguments)

    detached = gradient(lambda arguments: fixed)
    mine = jax.jit(jax.grad(lambda arguments: jnp.sum(jnp.sin(case.function(**arguments, **case.settings).poses))))
    whole = mine(arguments)
    assert np.abs(whole["votes"] - detached["votes"]).max() > 1e-2
    assert np.abs(detached["beta_a"]).max() == 0
    assert np.abs(whole["beta_a"]).max() > 1e-3


def test_em_description_keeps_the_activations_of_a_layer_with_many_in_capsules_off_the_sigmoids_ends():
    # Ten times the in capsules gather ten times the mass, which the cost's scale makes up for.
    few = np.tile(draw(BY_NAME["em"], scale=3.0)["votes"], (6, 1, 1))
    many = np.tile(few, (10, 1, 1))
    betas = {"beta_a": np.zeros(3, np.float32), "beta_u": np.zeros(3, np.float32)}
    settings = {"inverse_temperature": 1.0, "iterations": 1}
    one, other = (routed_by(named_routing("em", **settings), votes, **betas) for votes in (few, many))
    np.testing.assert_allclose(one.activations, other.activations, rtol=1e-4)
    assert 0.05 < other.activations.min() < other.activations.max() < 0.95
    assert routed_by(functional.em_routing, many, **betas, **settings).activations.max() < 0.01


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_a_thousand_random_em_cases_have_no_nan(dtype):
    generator = np.random.default_rng(0)
    cases, in_capsules, out_capsules, dim = 1000, 8, 4, 4

    def sizes(low, high, *shape):
        return 10 ** generator.uniform(low, high, (cases, *shape))

    # One size for a case, and others within it; some votes are the same, some zero.
    votes = generator.normal(size=(cases, in_capsules, out_capsules, dim)) * sizes(-20, 10, 1, 1, 1)
    votes *= sizes(-4, 0, 1, out_capsules, 1)
    votes *= generator.uniform(size=(cases, in_capsules, 1, 1)) > 0.1
    alike = generator.uniform(size=cases) < 0.1
    votes[alike] = votes[alike, :1]
    in_activations = generator.uniform(-0.3, 1.3, (cases, in_capsules)).clip(0, 1)
    in_activations[:20], in_activations[20:40] = 0, 1
    betas = {name: generator.normal(size=(cases, out_capsules)) * sizes(-3, 3, 1) for name in ("beta_a", "beta_u")}
    arguments = {"votes": votes, "in_activations": in_activations, **betas}
    arguments = {name: jnp.asarray(value, dtype) for name, value in arguments.items()}

    @jax.jit
    @jax.vmap
    def values_and_gradients(arguments):
        def loss(arguments):
            routed = functional.em_routing(**arguments, inverse_temperature=1.0)
            return sum(jnp.sum(jnp.sin(each.astype(jnp.float32))) for each in routed), routed

        return jax.grad(loss, has_aux=True)(arguments)

    gradients, routed = values_and_gradients(arguments)
    assert_finite(routed)
    assert_finite(gradients)
    assert np.all((routed.activations >= 0) & (routed.activations <= 1))
    np.testing.assert_allclose(np.float32(routed.couplings).sum(axis=2), 1, rtol=4 * jnp.finfo(dtype).eps)


def test_variational_routing_by_hand():
    # Two in capsules, so N = 2 * 1/2 = 1 and alpha = kappa = 2, nu = 1 + 1 + 1 = 3. Both vote 2 for the first out
    # capsule: mu = 2 / 2 = 1, S = 0, 1 / Psi = 1 + 1/2 * 4 = 3. Both vote 0 for the second: mu = 0, 1 / Psi = 1.
    # digamma(2) = 1 - gamma, digamma(4) = 11/6 - gamma, digamma(3/2) = 2 - gamma - 2 ln 2. So E ln pi = -5/6 and
    # E ln |Lambda| = 2 - gamma - 2 ln 2 + ln 2 + ln Psi = 2 - gamma - ln 2 + ln Psi.
    votes, betas = [[[2], [0]], [[2], [0]]], {"beta_a": [0.5, 0.5], "beta_u": [0.1, 0.2]}
    routed = routed_by(functional.variational_routing, votes, iterations=1, **betas)
    np.testing.assert_allclose(routed.poses, [[1], [0]], rtol=1e-6, atol=1e-7)
    log_determinants = 2 - np.euler_gamma - np.log(2) - np.log([3, 1])
    entropies = (np.log(2 * np.pi * np.e) - log_determinants) / 2
    expected = logistic(np.array([0.4, 0.3]) - np.exp(-5 / 6) * entropies)
    np.testing.assert_allclose(routed.activations, expected, rtol=1e-5)
    # Then R is in proportion to exp(E ln |Lambda| / 2 - nu Psi (V - mu)^2 / 2), the rest being equal:
    # 3^(-1/2) exp(-3 * 1/3 * 1 / 2) to 1.
    routed = routed_by(functional.variational_routing, votes, iterations=2, **betas)
    share = np.exp(-0.5) / np.sqrt(3)
    np.testing.assert_allclose(routed.couplings, np.tile([share, 1], (2, 1)) / (1 + share), rtol=1e-5)


def test_variational_priors_keep_a_variance_from_collapsing_where_em_does():
    # The votes for the first out capsule agree exactly, those for the second within 0.01.
    votes = np.zeros((4, 2, 1), np.float32)
    votes[:, 1, 0] = [-0.01, 0.01, -0.01, 0.01]
    betas = {"beta_a": np.zeros(2, np.float32), "beta_u": np.zeros(2, np.float32)}
    em = routed_by(functional.em_routing, votes, variance_floor=1e-12, **betas)
    np.testing.assert_allclose(em.couplings[:, 0], np.ones(4), atol=1e-3)
    variational = routed_by(functional.variational_routing, votes, **betas)
    np.testing.assert_allclose(variational.couplings, np.full((4, 2), 0.5), atol=1e-3)


def test_self_attention_by_hand():
    # Two in capsules vote 1 for the first out capsule and 0 for the second: agreements 1 + 1 and 0, dim = 1. A sum of
    # twice the coupling, squashed to 1 - exp(-sum).
    votes = [[[1], [0]], [[1], [0]]]
    routed = routed_by(functional.self_attention_routing, votes)
    coupling = logistic(2.0)
    np.testing.assert_allclose(routed.couplings, np.tile([coupling, 1 - coupling], (2, 1)), rtol=1e-6)
    np.testing.assert_allclose(routed.poses, [[1 - np.exp(-2 * coupling)], [0]], rtol=1e-6)
    # The prior moves the couplings by itself, whatever it is: it comes after the softmax.
    routed = routed_by(functional.self_attention_routing, votes, prior=[[0.5, 2], [-1, 0]])
    np.testing.assert_allclose(
        routed.couplings, [[coupling + 0.5, 3 - coupling], [coupling - 1, 1 - coupling]], rtol=1e-6
    )
    np.testing.assert_allclose(routed.activations, [1 - np.exp(-(2 * coupling - 0.5)), 0], rtol=1e-6)


def test_self_attention_divides_the_agreement_by_the_root_of_the_dimension():
    # One in capsule; a vote of four ones agrees with itself by 4 / sqrt(4) = 2.
    routed = routed_by(functional.self_attention_routing, [[[1, 1, 1, 1], [0, 0, 0, 0]]])
    np.testing.assert_allclose(routed.couplings, [[logistic(2.0), logistic(-2.0)]], rtol=1e-6)


def test_inverted_attention_by_hand():
    # One in capsule, votes (2, 0) and (0, 0). Halved, the first is (1, 0), which layer normalisation takes to (1, -1)
    # (but for what it adds to the variance). Agreements 2 and 0, so a coupling of e^2 / (e^2 + 1).
    votes = [[[2, 0], [0, 0]]]
    first = routed_by(functional.inverted_attention_routing, votes, iterations=1)
    np.testing.assert_array_equal(first.couplings, [[0.5, 0.5]])
    np.testing.assert_allclose(first.poses, [[1, -1], [0, 0]], rtol=1e-4)
    np.testing.assert_allclose(first.activations, [1, 0], rtol=1e-4)
    second = routed_by(functional.inverted_attention_routing, votes, iterations=2)
    np.testing.assert_allclose(second.couplings, [[logistic(2.0), logistic(-2.0)]], rtol=1e-4)
    # Scaled by (1/2, 3) and moved by (0, 1).
    moved = routed_by(
        functional.inverted_attention_routing, votes, iterations=1, norm_scale=[0.5, 3.0], norm_bias=[0.0, 1.0]
    )
    np.testing.assert_allclose(moved.poses, [[0.5, -2], [0, 1]], rtol=1e-4)


def test_inverted_attention_keeps_the_poses_from_one_iteration_to_the_next():
    case = BY_NAME["inverted-attention"]
    arguments = draw(case)
    first = route(case, arguments, 1)
    assert_close(route(case, arguments | {"initial_poses": first.poses}, 2), route(case, arguments, 3), 1e-5)


def test_inverted_attention_normalises_instead_of_squashing():
    poses = routed_by(functional.inverted_attention_routing, draw(BY_NAME["inverted-attention"])["votes"]).poses
    np.testing.assert_allclose(np.mean(poses, axis=1), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(np.var(poses, axis=1), np.ones(3), rtol=1e-3)


def test_self_routing_by_hand():
    # Gates of the logits ln 3 and 0 and of 0 and 0; activations 1 and 1/2. Shares 3/4 and 1/4 of the first out capsule
    # (in all 1), 1/4 and 1/4 of the second (1/2), out of 3/2.
    routed = routed_by(
        functional.self_routing,
        [[[4], [0]], [[8], [2]]],
        [1, 0.5],
        in_poses=[[2], [5]],
        gate_weights=[[[np.log(3) / 2], [0]], [[0], [0]]],
    )
    np.testing.assert_allclose(routed.couplings, [[0.75, 0.25], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(routed.activations, [2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(routed.poses, [[3 / 4 * 4 + 1 / 4 * 8], [1]], rtol=1e-6)


def test_self_routing_leaves_activations_that_sum_to_one():
    activations = route(BY_NAME["self-routing"], draw(BY_NAME["self-routing"])).activations
    np.testing.assert_allclose(np.sum(activations), 1, rtol=1e-5)


def test_heinsen_d_step_by_hand():
    # Data 1 and 1/2, even couplings: 1/2 and 1/4 are used, and as much is ignored. The first mean is
    # (1/2 * 1 + 1/4 * 4) / (3/4) = 2.
    routed = routed_by(
        functional.heinsen_routing,
        [[[1], [3]], [[4], [3]]],
        [1, 0.5],
        beta_use=[[1, 0], [2, 4]],
        beta_ignore=[[0.5, 1], [0.2, 2]],
        iterations=1,
    )
    np.testing.assert_allclose(routed.poses, [[2], [3]], rtol=1e-6)
    scores = [0.5 * 1 + 0.25 * 2 - 0.5 * 0.5 - 0.25 * 0.2, 0.25 * 4 - 0.5 * 1 - 0.25 * 2]
    np.testing.assert_allclose(routed.activations, logistic(np.array(scores)), rtol=1e-6)


def test_heinsen_e_step_by_hand():
    # One in capsule, so equal densities; scores 2 ln 3 / 2 and 0 are activations 3/4 and 1/2: couplings 3/5 and 2/5.
    routed = routed_by(
        functional.heinsen_routing, [[[7], [2]]], beta_use=[[2 * np.log(3), 0]], beta_ignore=[[0, 0]], iterations=2
    )
    np.testing.assert_allclose(routed.couplings, [[0.6, 0.4]], rtol=1e-5)
    np.testing.assert_allclose(routed.activations, [logistic(0.6 * 2 * np.log(3)), 0.5], rtol=1e-5)


# Bad input


@every_case
def test_an_argument_of_the_wrong_shape_is_named(case, no_type_checks):
    arguments = draw(case)
    for name, value in arguments.items():
        wrong = value[:, 0] if name == "votes" else np.concatenate([value, value[:1]])
        found = re.escape(f"found {list(wrong.shape)}")
        with pytest.raises(ValueError, match=rf"^{name}: shape \[.*\] .*expected.*{found}"):
            case.function(**(arguments | {name: jnp.asarray(wrong)}))


@every_case
def test_an_argument_that_is_not_floating_point_is_named(case, no_type_checks):
    arguments = draw(case)
    for name, value in arguments.items():
        with pytest.raises(ValueError, match=f"^{name}: a floating-point array expected, found int32"):
            case.function(**(arguments | {name: jnp.asarray(value, jnp.int32)}))


def test_gates_for_poses_of_another_dimension_are_named(no_type_checks):
    case = BY_NAME["self-routing"]
    arguments = draw(case)
    arguments["gate_weights"] = arguments["gate_weights"][..., :4]
    with pytest.raises(ValueError, match=r"^gate_weights: .* 5 expected, .* in_poses, found 4"):
        case.function(**arguments)


@pytest.mark.parametrize("iterations", [0, -1, True, 2.0, np.int64(3), "3"])
@every_iterated_case
def test_a_wrong_number_of_iterations_is_named(case, iterations, no_type_checks):
    message = "iterations must be a Python int of at least 1"
    with pytest.raises(ValueError, match=f"{message}, not {re.escape(repr(iterations))}"):
        case.function(**draw(case), iterations=iterations)
    with pytest.raises(ValueError, match=message):
        ROUTINGS[case.name](iterations=iterations)


@every_iterated_case
def test_a_traced_number_of_iterations_is_named(case, no_type_checks):
    with pytest.raises(ValueError, match="iterations must be a Python int of at least 1"):
        jax.jit(case.function)(**draw(case), iterations=3)


def test_an_unknown_routing_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"^routing 'dinamic' is unknown: did you mean 'dynamic'\? there are dynamic"):
        named_routing("dinamic")
    with pytest.raises(ValueError, match=r"^routing 'k-means' is unknown: there are dynamic, .*, uniform$"):
        named_routing("k-means")


@every_case
def test_an_unknown_setting_is_named(case):
    with pytest.raises(ValueError, match=rf"^routing '{case.name}': .*'iteration'"):
        named_routing(case.name, iteration=3)


@pytest.mark.parametrize(
    ("name", "setting"),
    [("em", {"variance_floor": 0.0}), ("em", {"cost_scale": -1.0}), ("variational", {"mean_prior": float("inf")})],
)
def test_settings_out_of_range_are_named(name, setting):
    ((key, value),) = setting.items()
    with pytest.raises(ValueError, match=f"^{key} must be a finite number above 0, not {value!r}$"):
        named_routing(name, **setting)
