import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxcaps.functional
from jaxcaps.functional import Routed, coupling_entropy, dense_votes, over_batch
from tests import references

route = jax.jit(jaxcaps.functional.dynamic_routing, static_argnames="iterations")
entropy_once = jax.jit(coupling_entropy)


def dynamic_routing(votes, in_activations=None, **settings):
    return Routed(*map(np.asarray, route(np.float32(votes), in_activations, **settings)))


def entropy(couplings):
    return float(entropy_once(couplings))


def random_votes(seed=0, shape=(6, 3, 4), scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def test_one_iteration_by_hand():
    # Sums of halves: (0.5, 0) and (0, 2); squashed: 0.25/1.25 = 0.2 along x and 4/5 = 0.8 along y.
    votes = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 3.0]]])
    routed = dynamic_routing(votes, iterations=1)
    np.testing.assert_allclose(routed.poses, [[0.2, 0.0], [0.0, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(routed.activations, [0.2, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(routed.couplings, np.full((2, 2), 0.5))


def test_two_iterations_by_hand():
    # One in capsule with votes (2, 0), (0, 0): first pose 1/2 along x, agreement 1, couplings e/(e+1) and 1/(e+1).
    routed = dynamic_routing(np.array([[[2.0, 0.0], [0.0, 0.0]]]), iterations=2)
    coupling = np.e / (np.e + 1)
    length = 2 * coupling
    np.testing.assert_allclose(routed.couplings, [[coupling, 1 - coupling]], rtol=1e-6)
    np.testing.assert_allclose(routed.poses, [[length**2 / (1 + length**2), 0.0], [0.0, 0.0]], rtol=1e-6)


def test_three_iterations_are_the_default_and_mean_three_squashes():
    votes = random_votes(scale=2.0)
    poses = dynamic_routing(votes).poses
    np.testing.assert_allclose(poses, references.dynamic_routing(votes, 3)[0], rtol=1e-4, atol=1e-6)
    for other in (1, 2, 4):
        assert np.abs(poses - references.dynamic_routing(votes, other)[0]).max() > 1e-3


def test_the_gradient_passes_through_the_couplings():
    votes = random_votes(scale=2.0)
    couplings = dynamic_routing(votes).couplings

    @jax.jit
    @jax.value_and_grad
    def routed(v):
        return jnp.sum(route(v).couplings[:, :, None] * v)

    value, gradient = routed(votes)
    np.testing.assert_allclose(np.sum(couplings[:, :, None] * votes), value, rtol=1e-5)
    # Of fixed couplings the gradient by a vote would be its coupling.
    assert np.abs(couplings[:, :, None] - gradient).max() > 1e-2


def test_activations_are_the_norms_of_the_poses():
    routed = dynamic_routing(random_votes())
    np.testing.assert_allclose(routed.activations, np.linalg.norm(routed.poses, axis=-1), rtol=1e-6)


def test_identical_votes_leave_the_couplings_uniform():
    vote = np.array([0.6, 0.8])
    routed = dynamic_routing(np.broadcast_to(vote, (8, 4, 2)))
    np.testing.assert_allclose(routed.couplings, np.full((8, 4), 0.25), rtol=1e-6)
    # Eight quarters: a sum of norm 2.
    np.testing.assert_allclose(routed.poses, np.tile(0.8 * vote, (4, 1)), rtol=1e-6)


def test_a_sole_out_capsule_gets_everything():
    votes = random_votes(shape=(5, 1, 3))
    routed = dynamic_routing(votes)
    np.testing.assert_array_equal(routed.couplings, np.ones((5, 1)))
    np.testing.assert_allclose(routed.poses[0], references.squash(np.sum(votes, axis=0)[0]), rtol=1e-5)


def test_agreeing_votes_are_coupled_more_than_dissenting_ones():
    votes = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    couplings = dynamic_routing(votes).couplings
    assert np.all(couplings[:, 0] > 0.5)


def test_an_in_capsule_of_no_activation_moves_no_pose():
    votes = random_votes()
    silent = np.array([1, 1, 1, 1, 1, 0], np.float32)
    moved = votes + 10.0 * (np.arange(6) == 5)[:, None, None].astype(np.float32)
    np.testing.assert_array_equal(dynamic_routing(votes, silent).poses, dynamic_routing(moved, silent).poses)


def test_activations_of_one_change_nothing():
    votes = random_votes()
    for one, other in zip(dynamic_routing(votes), dynamic_routing(votes, np.ones(6, np.float32)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_eight_devices_equal_one():
    weights, poses = random_votes(0, (6, 3, 4, 5)), random_votes(1, (16, 6, 5))

    def loss(w, u):
        return over_batch(lambda one: route(dense_votes(w, one)), tile=1)(u)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.jit(jax.shard_map(loss, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")))
    for one, other in zip(sharded(weights, poses), jax.jit(loss)(weights, poses), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_coupling_entropy_by_hand():
    assert entropy(np.full((4, 3), 1 / 3, np.float32)) == pytest.approx(1, abs=1e-6)
    assert entropy(np.eye(3, dtype=np.float32)) == 0
    # Half of the rows undecided between two of four: log 2 / log 4, the others decided.
    couplings = np.array([[0.5, 0.5, 0, 0], [0, 0, 0, 1]], np.float32)
    assert entropy(couplings) == pytest.approx(0.25)


def test_coupling_entropy_equals_the_reference():
    couplings = dynamic_routing(random_votes(scale=2.0)).couplings
    assert entropy(couplings) == pytest.approx(references.coupling_entropy(couplings), rel=1e-5)


def test_coupling_entropy_of_a_sole_out_capsule_is_one():
    assert entropy(np.ones((4, 1), np.float32)) == 1


def test_coupling_entropy_has_a_finite_gradient_where_a_coupling_is_zero():
    assert np.all(np.isfinite(jax.jit(jax.grad(coupling_entropy))(np.eye(3, dtype=np.float32))))


def test_coupling_entropy_of_bfloat16_stays_in_range():
    found = np.asarray(entropy_once(np.full((4, 3), 1 / 3, jnp.bfloat16)))
    assert found.dtype == np.float32
    assert 0.99 < found <= 1
