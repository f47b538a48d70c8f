import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.data.sampling import balanced, in_order, shuffled
from jaxcaps.errors import UserError

sizes = st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count)))
seeds = st.integers(-5, 2**70)


@given(sizes, seeds)
def test_each_epoch_is_a_permutation_though_it_ends_inside_a_batch(size, seed):
    count, batch = size
    order = shuffled(count, batch, seed)
    stream = np.concatenate([order(step)[0] for step in range(-(-3 * count // batch))])
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(stream[epoch * count : (epoch + 1) * count]), np.arange(count))
    assert stream.dtype == np.int32


@given(sizes, seeds, st.integers(0, 10**6), st.booleans())
def test_any_start_gives_the_same_stream(size, seed, start, class_balanced):
    count, batch = size

    def fresh():
        return balanced(np.arange(count) % 3, batch, seed) if class_balanced else shuffled(count, batch, seed)

    onwards = fresh()
    for step in range(start, start + 3):
        np.testing.assert_array_equal(onwards(step)[0], fresh()(step)[0])
        assert fresh()(step)[1].all()


def test_each_epoch_and_seed_has_its_own_order():
    order, other = shuffled(100, 100, seed=1), shuffled(100, 100, seed=2)
    assert np.any(order(0)[0] != order(1)[0])
    assert np.any(order(0)[0] != other(0)[0])
    assert np.any(order(0)[0] != np.arange(100))


def test_every_order_is_equally_likely():
    order = shuffled(3, 3, seed=0)
    orders, counts = np.unique([order(step)[0] for step in range(6000)], axis=0, return_counts=True)
    assert len(orders) == 6
    # 1000 expected, standard deviation 29.
    assert np.all(np.abs(counts - 1000) < 120)


def test_the_streams_never_change():
    """Golden values: a change would silently give resumed runs different data."""
    np.testing.assert_array_equal(shuffled(8, 8, seed=0)(0)[0], [0, 2, 1, 5, 4, 3, 6, 7])
    np.testing.assert_array_equal(
        balanced(np.array([0, 0, 0, 0, 0, 0, 1, 2]), 8, seed=0)(5)[0], [0, 6, 6, 7, 7, 7, 7, 7]
    )


def test_balanced_draws_classes_equally_and_examples_within_a_class_equally():
    labels = np.repeat([0, 1, 3], [70, 20, 10])
    order = balanced(labels, 100, seed=3)
    drawn = np.concatenate([order(step)[0] for step in range(300)])
    shares = np.bincount(labels[drawn], minlength=4) / len(drawn)
    # Standard deviation of a share of 1/3 in 30,000 draws: 0.0027.
    np.testing.assert_allclose(shares, [1 / 3, 1 / 3, 0, 1 / 3], atol=0.012)
    within = np.bincount(drawn, minlength=100)[90:]
    np.testing.assert_allclose(within / within.sum(), 0.1, atol=0.015)


def test_balanced_draws_with_replacement_and_anew_each_step():
    order = balanced(np.array([0] * 9 + [1]), 10, seed=0)
    assert len(set(order(0)[0].tolist())) < 10
    assert np.any(order(0)[0] != order(1)[0])


@given(st.integers(1, 40), st.integers(1, 20))
def test_in_order_shows_every_example_once_and_pads_the_last_batch(count, batch):
    order = np.random.default_rng(count).permutation(count)
    draw = in_order(order, batch)
    steps = [draw(step) for step in range(-(-count // batch))]
    indices, valid = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    np.testing.assert_array_equal(indices[valid], order)
    assert len(indices) == -(-count // batch) * batch
    assert np.all((indices >= 0) & (indices < count))
    assert indices.dtype == np.int32


def test_a_batch_larger_than_the_training_set_is_refused_without_replacement():
    with pytest.raises(
        UserError,
        match=r"--batch-size=6 is larger than the training set of 5 images; .*--batch-size=5 --effective-batch=5",
    ):
        shuffled(5, 6, 0)
    assert len(balanced(np.zeros(5, int), 6, 0)(0)[0]) == 6


def test_balanced_sampling_keeps_the_share_of_unlabelled_examples():
    labels = np.repeat([-1, 0, 1], [60, 30, 10])
    order = balanced(labels, 100, seed=1)
    drawn = labels[np.concatenate([order(step)[0] for step in range(300)])]
    shares = [np.mean(drawn == label) for label in (-1, 0, 1)]
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.012)


def test_balanced_without_labels_is_refused():
    with pytest.raises(UserError, match=r"--sampling=balanced needs labels, and no .* give --sampling=shuffled"):
        balanced(np.array([-1, -1]), 2, 0)
