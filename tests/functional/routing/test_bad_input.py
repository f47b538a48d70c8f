"""What every routing says of input that it can't route."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcaps import functional
from jaxcaps.functional import EM, ROUTINGS, as_routing, named_routing
from tests.functional.routing.cases import (
    BY_NAME,
    CASES,
    draw,
    every_case,
    every_iterated_case,
)


@every_case
def test_an_argument_of_the_wrong_shape_is_named(case, no_type_checks):
    arguments = draw(case)
    for name, value in arguments.items():
        wrong = value[:, 0] if name == "votes" else np.repeat(np.atleast_1d(value), 2, axis=0)
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


@every_iterated_case
def test_a_wrong_number_of_iterations_is_named(case, no_type_checks):
    message = "iterations must be a Python int of at least 1"
    for iterations in (0, -1, True, 2.0, np.int64(3), "3"):
        with pytest.raises(ValueError, match=f"{message}, not {re.escape(repr(iterations))}"):
            case.function(**draw(case), iterations=iterations)
        with pytest.raises(ValueError, match=message):
            ROUTINGS[case.name](iterations=iterations)
    with pytest.raises(ValueError, match=message):  # traced
        jax.jit(case.function)(**draw(case), iterations=3)


def test_an_unknown_routing_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"^unknown routing 'dinamic'; did you mean 'dynamic'\?$"):
        named_routing("dinamic")
    with pytest.raises(ValueError, match=r"^unknown routing 'k-means'; known: detached-dynamic, .*, variational$"):
        named_routing("k-means")


def test_what_iterates_is_read_off_the_descriptions():
    found = {name for name in ROUTINGS if "iterations" in functional.routing_settings(name)}
    assert found == {case.name for case in CASES if case.iterations}


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


@pytest.mark.parametrize("name", ["dynamic", "leaky-dynamic", "detached-dynamic"])
@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan"), "capsule", None, True])
def test_an_agreement_scale_out_of_range_is_named(name, scale, no_type_checks):
    message = f"agreement_scale must be a finite number above 0 or 'capsules', not {scale!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        named_routing(name, agreement_scale=scale)


def test_detached_routing_has_no_gradient_to_learn_its_scale_by():
    with pytest.raises(ValueError, match="learn_agreement_scale"):
        named_routing("detached-dynamic", learn_agreement_scale=True)


def test_a_layers_routing_may_be_a_name_a_class_a_description_or_a_function():
    assert as_routing("em") == as_routing(EM) == as_routing(EM()) == EM()
    assert as_routing(np.mean) is np.mean
    for wrong in (3, None, [EM()], dict):
        with pytest.raises(ValueError, match=r"routing=.*: give a description such as EM\(\), .* or one of detached"):
            as_routing(wrong)
