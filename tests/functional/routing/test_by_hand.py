"""Values worked by hand, and what each paper does in its own way."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcaps import functional
from jaxcaps.functional import Routed, named_routing
from tests import references
from tests.functional.routing.cases import (
    BY_NAME,
    assert_close,
    assert_finite,
    draw,
    permuted,
    refer,
    route,
)
from tests.marks import slow


def routed_by(function, votes, in_activations=None, **others):
    """The result in float32. Arrays may be lists; numbers are settings."""
    settings = {name: value for name, value in others.items() if np.isscalar(value)}
    arrays = {name: value for name, value in others.items() if name not in settings} | {"votes": votes}
    if in_activations is not None:
        arrays["in_activations"] = in_activations
    arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    return Routed(*map(np.asarray, jax.jit(functools.partial(function, **settings))(**arrays)))


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
        return jax.jit(jax.grad(lambda votes: function(votes, iterations=2).poses[0, 0]))(
            np.array([[[2.0], [0.0]]], np.float32)
        )

    c = np.e / (np.e + 1)
    by_sum = 4 * c / (1 + 4 * c**2) ** 2
    functions = functional.detached_dynamic_routing, functional.dynamic_routing
    detached, whole = (np.asarray(gradient(function)) for function in functions)
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
    fixed = route(case, arguments).couplings

    def mean(couplings, arguments):
        shares = couplings * arguments["in_activations"][:, None]
        return jnp.sum((shares / jnp.sum(shares, axis=0, keepdims=True))[:, :, None] * arguments["votes"], axis=0)

    def gradient(couple):
        return jax.jit(jax.grad(lambda arguments: jnp.sum(jnp.sin(mean(couple(arguments), arguments)))))(arguments)

    detached = gradient(lambda arguments: fixed)
    mine = jax.jit(jax.grad(lambda arguments: jnp.sum(jnp.sin(case.function(**arguments, **case.settings).poses))))
    whole = mine(arguments)
    assert np.abs(np.asarray(whole["votes"]) - detached["votes"]).max() > 1e-2
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


@pytest.mark.parametrize("dtype", [np.float32, *slow(jnp.bfloat16)], ids=["float32", "bfloat16"])
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
    arguments = {name: value.astype(dtype) for name, value in arguments.items()}

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
    activations = np.float32(routed.activations)
    assert np.all((activations >= 0) & (activations <= 1))
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
