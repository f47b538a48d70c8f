import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcaps.functional import dense_votes, dynamic_routing, over_batch
from jaxcaps.functional.cpu.tiling import cpu_tile
from tests.marks import slow

WEIGHTS = np.random.default_rng(0).normal(size=(6, 3, 4, 5)).astype(np.float32)
POSES = np.random.default_rng(1).normal(size=(10, 6, 5)).astype(np.float32)


def route(tile):
    def batched(weights, poses):
        return over_batch(lambda one: dynamic_routing(dense_votes(weights, one)), tile=tile)(poses)

    return jax.jit(batched)


def loss_of(routed):
    return jnp.sum(jnp.sin(routed.poses))


@functools.cache
def one_by_one():
    """Values and gradients without any batching."""

    @jax.jit
    def one(weights, pose):
        def loss(w, u):
            routed = dynamic_routing(dense_votes(w, u))
            return loss_of(routed), routed

        return jax.grad(loss, (0, 1), has_aux=True)(weights, pose)

    gradients, routed = jax.tree.map(lambda *each: np.stack(each), *(one(WEIGHTS, pose) for pose in POSES))
    return (gradients[0].sum(axis=0), gradients[1]), routed


@pytest.mark.parametrize("tile", [4, 10, *slow(None, 1, 9, 11)])
def test_the_tile_changes_neither_values_nor_gradients(tile):
    def loss(weights, poses):
        routed = route(tile)(weights, poses)
        return loss_of(routed), routed

    results = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(WEIGHTS, POSES)
    for value, expected in zip(jax.tree.leaves(results), jax.tree.leaves(one_by_one()), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tile", [2, None])
def test_an_example_does_not_depend_on_its_batch(tile):
    alone = np.asarray(route(tile)(WEIGHTS, POSES[3:4]).poses)
    together = np.asarray(route(tile)(WEIGHTS, POSES).poses)
    np.testing.assert_allclose(together[3], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tile", [2, None])
def test_all_arguments_are_mapped_trees_and_absent_ones_included(tile):
    def function(pair, offset, absent):
        assert absent is None
        return {"sum": pair["a"] + pair["b"] + offset}

    pair = {"a": np.arange(5, dtype=np.float32), "b": np.ones(5, np.float32)}
    result = jax.jit(over_batch(function, tile=tile))(pair, np.full(5, 10, np.float32), None)
    np.testing.assert_array_equal(result["sum"], np.arange(5.0) + 11)


def test_forward_mode_works():
    @jax.jit
    def tangents(weights, poses):
        return [
            jax.jvp(lambda u, tile=tile: route(tile)(weights, u).poses, (poses,), (poses,))[1] for tile in (3, None)
        ]

    tangent, expected = tangents(WEIGHTS, POSES)
    np.testing.assert_allclose(tangent, expected, rtol=1e-4, atol=1e-5)


def test_the_backward_pass_of_tiles_keeps_no_votes():
    """Memory of the compiled gradient: tiles must not hold the whole batch's votes."""
    weights = jax.ShapeDtypeStruct((64, 8, 16, 8), np.float32)
    poses = jax.ShapeDtypeStruct((128, 64, 8), np.float32)
    all_votes = 128 * 64 * 8 * 16 * 4

    def temporary_bytes(tile):
        gradient = jax.jit(jax.grad(lambda w, u: route(tile)(w, u).poses.sum(), (0, 1)))
        return gradient.lower(weights, poses).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(2) < all_votes / 2 < temporary_bytes(None)


@pytest.mark.parametrize("tile", [0, -1])
def test_a_tile_below_one_is_named(tile):
    with pytest.raises(ValueError, match="tile must be at least 1"):
        over_batch(jnp.sin, tile=tile)


def test_the_tile_for_a_cpu_shrinks_with_the_votes_to_no_less_than_four():
    assert [cpu_tile(kib * 1024) for kib in (1, 16, 64, 720, 10_000)] == [1024, 64, 16, 4, 4]
