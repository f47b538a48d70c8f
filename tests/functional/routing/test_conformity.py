"""Every routing of the table against its reference, and the properties that all of them have."""

import jax
import numpy as np
import pytest

from jaxcaps.functional import ROUTINGS, Routing, named_routing, over_batch
from tests.functional.routing.cases import (
    BY_NAME,
    CASES,
    ITERATIONS,
    LENGTHS,
    SHAPE,
    assert_close,
    draw,
    every_case,
    every_iterated_case,
    permuted,
    refer,
    route,
    settings_of,
)
from tests.marks import slow


def test_the_table_holds_every_routing():
    assert sorted(BY_NAME) == list(ROUTINGS)


@every_case
def test_equals_the_reference(case):
    arguments = draw(case)
    assert_close(route(case, arguments), refer(case, arguments), 1e-5)
    passes = ITERATIONS[: case.most]

    @jax.jit
    def every_number_of_iterations(arguments):
        return [case.function(**arguments, **case.settings, **settings_of(case, n)) for n in passes]

    with jax.enable_x64(True):
        arguments = draw(case, dtype=np.float64)
        for routed, n in zip(every_number_of_iterations(arguments), passes, strict=True):
            assert {each.dtype for each in routed} == {np.dtype(np.float64)}
            assert_close(routed, refer(case, arguments, n), 1e-10)


@every_case
def test_arguments_left_out_are_neutral(case):
    arguments = draw(case)
    neutral = {"in_activations": np.ones_like(arguments["in_activations"])}
    neutral |= {name: np.full_like(arguments[name], value) for name, value in case.neutral.items()}
    given = {name: value for name, value in arguments.items() if name not in neutral}
    assert_close(route(case, given), route(case, arguments | neutral), 1e-5)
    assert_close(route(case, given), refer(case, given), 1e-5)


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


@every_case
def test_the_order_of_in_capsules_does_not_matter(case):
    arguments, order = draw(case), np.random.default_rng(1).permutation(6)
    plain, moved = route(case, arguments), route(case, permuted(case, arguments, "in", order))
    assert_close(moved, (plain.poses, plain.activations, np.asarray(plain.couplings)[order]), 1e-5)


@every_case
def test_permuted_out_capsules_give_permuted_results(case):
    arguments, order = draw(case), np.array([2, 0, 1])
    plain, moved = route(case, arguments), route(case, permuted(case, arguments, "out", order))
    poses, activations, couplings = map(np.asarray, plain)
    assert_close(moved, (poses[order], activations[order], couplings[:, order]), 1e-5)


@every_iterated_case
def test_the_number_of_iterations_is_exact(case):
    arguments = draw(case)
    by_default = route(case, arguments)
    assert_close(by_default, refer(case, arguments), 1e-5)
    for other in (case.iterations - 1, case.iterations + 1):
        assert np.abs(by_default.couplings - refer(case, arguments, other)[2]).max() > 1e-3


# In self-attention its vote still attracts the others'.
@pytest.mark.parametrize("case", [case for case in CASES if case.name != "self-attention"], ids=str)
def test_a_silent_in_capsules_vote_moves_no_pose(case):
    arguments = draw(case)
    arguments["in_activations"][5] = 0
    moved = arguments["votes"] + 10 * (np.arange(6) == 5)[:, None, None].astype(np.float32)
    plain, shifted = route(case, arguments), route(case, arguments | {"votes": moved})
    assert_close(shifted[:2], plain[:2], 1e-5)


@pytest.mark.parametrize(
    "case",
    [BY_NAME["dynamic"], BY_NAME["em"], *slow(*(each for each in CASES if each.name not in ("dynamic", "em")))],
    ids=str,
)
def test_the_tile_of_a_batch_changes_nothing(case):
    arguments = draw(case)
    learned = {name: arguments[name] for name in case.arguments if name != "in_poses"}
    mapped = {name: value for name, value in draw(case, batch=(4,)).items() if name not in learned}

    @jax.jit
    def tiled(mapped, learned):
        def one(example):
            return case.function(**example, **learned, **case.settings)

        return [over_batch(one, tile=tile)(mapped) for tile in (None, 1, 3)]

    whole, *tiles = jax.tree.map(np.asarray, tiled(mapped, learned))
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
    others = {name: arguments[name] for name in case.arguments if name != "agreement_scale"}
    expected = route(case, {"votes": votes, "in_activations": in_activations, **others})
    assert_close(jax.jit(description)(votes, in_activations, **others), expected, 1e-5)


@every_case
def test_the_description_asks_for_what_the_function_takes(case):
    description = ROUTINGS[case.name]()
    specs = description.parameters(SHAPE)
    assert set(specs) == set(case.arguments) - {"in_poses", "initial_poses", "agreement_scale"}
    for name, spec in specs.items():
        assert spec.shape == tuple(LENGTHS[axis] for axis in case.arguments[name].split())
        # What may be left out starts as if it were.
        assert spec.initial == case.neutral.get(name, spec.initial)
    assert ("in_poses" in description.needs) == ("in_poses" in case.arguments)
    assert getattr(description, "iterations", None) == case.iterations


@pytest.mark.parametrize("name", ["dynamic", "leaky-dynamic", "detached-dynamic"])
def test_the_agreement_scale_of_a_description(name):
    case = BY_NAME[name]
    arguments = {key: value for key, value in draw(case).items() if key != "agreement_scale"}
    for given, expected in ((0.5, 0.5), ("capsules", LENGTHS["in"] / LENGTHS["out"])):
        routed = jax.jit(named_routing(name, agreement_scale=given))(**arguments)
        assert_close(routed, route(case, arguments | {"agreement_scale": np.float32(expected)}), 1e-5)


@pytest.mark.parametrize("name", ["dynamic", "leaky-dynamic"])
def test_a_learned_agreement_scale_starts_where_the_fixed_one_is(name):
    case = BY_NAME[name]
    arguments = {key: value for key, value in draw(case).items() if key != "agreement_scale"}
    description = named_routing(name, agreement_scale="capsules", learn_agreement_scale=True)
    ((key, spec),) = description.parameters(SHAPE).items()
    assert (key, spec.shape) == ("log_agreement_scale", ())
    assert spec.initial == pytest.approx(np.log(LENGTHS["in"] / LENGTHS["out"]))
    for log_scale in (spec.initial, -0.5):
        routed = jax.jit(description)(**arguments, log_agreement_scale=np.float32(log_scale))
        assert_close(routed, route(case, arguments | {"agreement_scale": np.float32(np.exp(log_scale))}), 1e-5)
