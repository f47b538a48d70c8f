import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

import jaxcaps.functional
from jaxcaps.functional import Dynamic, Routed, Routing, RoutingShape, coupling_entropy, dense_votes, over_batch
from tests import references

dynamic_routing = jax.jit(jaxcaps.functional.dynamic_routing, static_argnames="iterations")


def random_votes(seed=0, shape=(6, 3, 4), scale=1.0):
    return np.asarray(jax.random.normal(jax.random.key(seed), shape) * scale)


def test_one_iteration_by_hand():
    # Sums of halves: (0.5, 0) and (0, 2); squashed: 0.25/1.25 = 0.2 along x and 4/5 = 0.8 along y.
    votes = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 3.0]]])
    routed = dynamic_routing(votes, iterations=1)
    np.testing.assert_allclose(routed.poses, [[0.2, 0.0], [0.0, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(routed.activations, [0.2, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(routed.couplings, np.full((2, 2), 0.5))


def test_two_iterations_by_hand():
    # One in capsule with votes (2, 0), (0, 0): first pose 1/2 along x, agreement 1, couplings e/(e+1) and 1/(e+1).
    routed = dynamic_routing(jnp.array([[[2.0, 0.0], [0.0, 0.0]]]), iterations=2)
    coupling = np.e / (np.e + 1)
    length = 2 * coupling
    np.testing.assert_allclose(routed.couplings, [[coupling, 1 - coupling]], rtol=1e-6)
    np.testing.assert_allclose(routed.poses, [[length**2 / (1 + length**2), 0.0], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_reference(iterations, weighted):
    votes = random_votes(scale=2.0)
    in_activations = jax.random.uniform(jax.random.key(1), (6,)) if weighted else None
    routed = dynamic_routing(votes, in_activations, iterations=iterations)
    for value, expected in zip(routed, references.dynamic_routing(votes, iterations, in_activations), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_three_iterations_are_the_default_and_mean_three_squashes():
    votes = random_votes(scale=2.0)
    poses = dynamic_routing(votes).poses
    np.testing.assert_allclose(poses, references.dynamic_routing(votes, 3)[0], rtol=1e-4, atol=1e-6)
    for other in (1, 2, 4):
        assert np.abs(poses - dynamic_routing(votes, iterations=other).poses).max() > 1e-3


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
def test_gradients_equal_finite_differences(iterations):
    with jax.enable_x64(True):
        votes = jax.random.normal(jax.random.key(2), (4, 3, 2), jnp.float64)
        in_activations = jax.random.uniform(jax.random.key(3), (4,), jnp.float64)
        check_grads(
            jax.jit(lambda v, a: dynamic_routing(v, a, iterations=iterations)),
            (votes, in_activations),
            order=1,
            modes=("fwd", "rev"),
        )


def test_the_gradient_passes_through_the_couplings():
    votes = random_votes(scale=2.0)
    couplings = dynamic_routing(votes).couplings

    def with_fixed_couplings(v):
        return jnp.sum(jnp.einsum("ij,ijd->jd", couplings, v))

    def routed(v):
        return jnp.sum(jnp.einsum("ij,ijd->jd", dynamic_routing(v).couplings, v))

    np.testing.assert_allclose(with_fixed_couplings(votes), routed(votes), rtol=1e-5)
    assert np.abs(jax.grad(with_fixed_couplings)(votes) - jax.grad(routed)(votes)).max() > 1e-2


@given(st.integers(0, 100), st.floats(0.01, 100))
def test_each_in_capsules_couplings_sum_to_one_over_the_out_capsules(seed, scale):
    couplings = np.asarray(dynamic_routing(random_votes(seed, scale=scale)).couplings)
    np.testing.assert_allclose(couplings.sum(axis=1), np.ones(6), rtol=1e-5)
    assert couplings.min() >= 0


def test_in_capsules_compete_over_the_out_capsules_and_not_the_reverse():
    votes = random_votes(scale=3.0)
    assert np.abs(np.asarray(dynamic_routing(votes).couplings).sum(axis=0) - 1).max() > 0.1


@given(st.integers(0, 100), st.permutations(range(6)))
def test_the_order_of_in_capsules_does_not_matter(seed, order):
    order = np.array(order)
    votes, in_activations = random_votes(seed), np.random.default_rng(seed).uniform(size=6).astype(np.float32)
    plain, permuted = (
        dynamic_routing(votes, in_activations),
        dynamic_routing(votes[order], in_activations[order]),
    )
    np.testing.assert_allclose(permuted.poses, plain.poses, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(permuted.couplings, plain.couplings[order], rtol=1e-4, atol=1e-6)


@given(st.integers(0, 100), st.permutations(range(3)))
def test_permuted_out_capsules_give_permuted_results(seed, order):
    order = np.array(order)
    votes = random_votes(seed)
    plain, permuted = dynamic_routing(votes), dynamic_routing(votes[:, order])
    np.testing.assert_allclose(permuted.poses, plain.poses[order], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(permuted.activations, plain.activations[order], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(permuted.couplings, plain.couplings[:, order], rtol=1e-4, atol=1e-6)


def test_activations_are_the_norms_of_the_poses():
    routed = dynamic_routing(random_votes())
    np.testing.assert_allclose(routed.activations, np.linalg.norm(routed.poses, axis=-1), rtol=1e-6)


def test_identical_votes_leave_the_couplings_uniform():
    vote = jnp.array([0.6, 0.8])
    routed = dynamic_routing(jnp.broadcast_to(vote, (8, 4, 2)))
    np.testing.assert_allclose(routed.couplings, np.full((8, 4), 0.25), rtol=1e-6)
    # Eight quarters: a sum of norm 2.
    np.testing.assert_allclose(routed.poses, np.tile(0.8 * np.asarray(vote), (4, 1)), rtol=1e-6)


def test_a_sole_out_capsule_gets_everything():
    votes = random_votes(shape=(5, 1, 3))
    routed = dynamic_routing(votes)
    np.testing.assert_array_equal(routed.couplings, np.ones((5, 1)))
    np.testing.assert_allclose(routed.poses[0], references.squash(np.sum(votes, axis=0)[0]), rtol=1e-5)


def test_agreeing_votes_are_coupled_more_than_dissenting_ones():
    votes = jnp.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    couplings = np.asarray(dynamic_routing(votes).couplings)
    assert np.all(couplings[:, 0] > 0.5)


def test_an_in_capsule_of_no_activation_moves_no_pose():
    votes = random_votes()
    silent = jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    moved = votes + 10.0 * (np.arange(6) == 5)[:, None, None].astype(np.float32)
    np.testing.assert_array_equal(dynamic_routing(votes, silent).poses, dynamic_routing(moved, silent).poses)


def test_activations_of_one_change_nothing():
    votes = random_votes()
    for one, other in zip(dynamic_routing(votes), dynamic_routing(votes, jnp.ones(6)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e4])
def test_values_and_gradients_are_finite_from_zero_to_huge_votes(scale):
    votes = random_votes(scale=scale)
    assert all(np.all(np.isfinite(each)) for each in dynamic_routing(votes))
    gradient = jax.jit(jax.grad(lambda v: sum(each.sum() for each in dynamic_routing(v)[:2])))(votes)
    assert np.all(np.isfinite(gradient))
    if scale == 0:
        np.testing.assert_array_equal(gradient, np.zeros_like(votes))


def test_bfloat16_votes_are_routed_in_float32():
    votes = jnp.asarray(random_votes(shape=(300, 3, 4))).astype(jnp.bfloat16)
    narrow, wide = dynamic_routing(votes), dynamic_routing(votes.astype(jnp.float32))
    for one, other in zip(narrow, wide, strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_array_equal(one, other.astype(jnp.bfloat16))


@pytest.mark.parametrize("iterations", [0, -1, True])
def test_a_wrong_number_of_iterations_is_named(iterations):
    message = "iterations must be a Python int of at least 1"
    with pytest.raises(ValueError, match=message):
        jaxcaps.functional.dynamic_routing(jnp.ones((6, 3, 4)), iterations=iterations)
    with pytest.raises(ValueError, match=message):
        Dynamic(iterations=iterations)


def test_the_description_routes_as_the_function_does_and_needs_no_parameters():
    description = Dynamic(iterations=2)
    assert isinstance(description, Routing)
    assert description.parameters(RoutingShape(6, 3, 5, 4)) == {}
    votes, in_activations = jnp.asarray(random_votes()), jnp.full(6, 0.5)
    routed = description(votes, in_activations)
    assert isinstance(routed, Routed)
    for one, other in zip(routed, dynamic_routing(votes, in_activations, iterations=2), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_the_description_is_hashable_and_equal_by_value():
    assert Dynamic() == Dynamic(iterations=3)
    assert len({Dynamic(), Dynamic(iterations=3), Dynamic(iterations=2)}) == 2


def test_eight_devices_equal_one():
    weights = jax.random.normal(jax.random.key(0), (6, 3, 4, 5))
    poses = jax.random.normal(jax.random.key(1), (16, 6, 5))

    def loss(w, u):
        return over_batch(lambda one: dynamic_routing(dense_votes(w, one)), tile=1)(u)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.jit(jax.shard_map(loss, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")))
    for one, other in zip(sharded(weights, poses), jax.jit(loss)(weights, poses), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_coupling_entropy_by_hand():
    assert coupling_entropy(jnp.full((4, 3), 1 / 3)) == pytest.approx(1, abs=1e-6)
    assert coupling_entropy(jnp.eye(3)) == 0
    # Half of the rows undecided between two of four: log 2 / log 4, the others decided.
    couplings = jnp.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert coupling_entropy(couplings) == pytest.approx(0.25)


def test_coupling_entropy_equals_the_reference():
    couplings = dynamic_routing(random_votes(scale=2.0)).couplings
    assert coupling_entropy(couplings) == pytest.approx(references.coupling_entropy(couplings), rel=1e-5)


def test_coupling_entropy_of_a_sole_out_capsule_is_one():
    assert coupling_entropy(jnp.ones((4, 1))) == 1


def test_coupling_entropy_has_a_finite_gradient_where_a_coupling_is_zero():
    assert np.all(np.isfinite(jax.grad(coupling_entropy)(jnp.eye(3))))


def test_coupling_entropy_of_bfloat16_stays_in_range():
    entropy = coupling_entropy(jnp.full((4, 3), 1 / 3, jnp.bfloat16))
    assert entropy.dtype == jnp.float32
    assert 0.99 < entropy <= 1
