"""The terms of VICReg by hand and against an independent reference, and invalid settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcaps.errors import UserError
from jaxcaps.plan.flags import checked, parse_config
from jaxcaps.plan.presets import preset
from jaxcaps.tasks import Examples, Shard
from jaxcaps.tasks.pretraining.vicreg import Vicreg, VicregConfig, Views, vicreg_terms
from tests.networks import MODEL, drawn

ALL = np.ones(4, bool)
terms_of = jax.jit(vicreg_terms)


def reference(first, second):
    """Equations 1 to 5 of Bardes et al. 2022 in float64."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    count, dim = first.shape
    variance = covariance = 0.0
    for view in (first, second):
        matrix = np.cov(view, rowvar=False)
        variance += np.mean([max(0, 1 - np.sqrt(matrix[j, j] + 1e-4)) for j in range(dim)]) / 2
        covariance += sum(matrix[i, j] ** 2 for i in range(dim) for j in range(dim) if i != j) / dim
    return sum(np.sum((first[k] - second[k]) ** 2) for k in range(count)) / count, variance, covariance


def test_the_terms_of_a_small_case_by_hand():
    # Column 1 is 0, 2, 0, 2 (variance 4/3); column 2 is 1, 1, 1, 1 (variance 0); they do not covary.
    first = np.array([[0, 1], [2, 1], [0, 1], [2, 1]], np.float32)
    terms = terms_of(first, first + np.float32([3, 4]), ALL)
    np.testing.assert_allclose(terms.invariance, 25)
    # The hinge is 0 for column 1 and 1 - sqrt(1e-4) for column 2.
    np.testing.assert_allclose(terms.variance, (0 + 0.99) / 2, rtol=1e-6)
    np.testing.assert_allclose(terms.covariance, 0, atol=1e-12)


def test_the_terms_are_those_of_the_paper():
    scales = [0.1, 0.5, 1, 2, 0.9]
    first, second = np.random.default_rng(0).normal(0, scales, (2, 12, 5)).astype(np.float32)
    terms = terms_of(first, second, np.ones(12, bool))
    np.testing.assert_allclose(np.array(terms), reference(first, second), rtol=1e-4)


def test_padding_does_not_count():
    first, second = np.random.default_rng(1).normal(size=(2, 6, 3)).astype(np.float32)
    valid = np.arange(6) < 4
    poisoned = np.where(valid[:, None], first, np.float32(1e3))
    terms = terms_of(poisoned, second, valid)
    np.testing.assert_allclose(np.array(terms), reference(first[:4], second[:4]), rtol=1e-4)


def test_a_single_picture_has_finite_terms():
    terms = terms_of(np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32), np.array([True, False]))
    assert np.isfinite(terms).all()


@pytest.mark.parametrize("reads", ["flattened", "pooled"])
def test_the_loss_is_the_weighted_sum_of_the_terms_of_what_the_expander_reads(reads):
    options = VicregConfig(vicreg_input=reads, invariance_weight=2.0, variance_weight=3.0, covariance_weight=4.0)
    task = Vicreg(MODEL, preset("tiny", "ssl").augmentation, 16, options)
    network = drawn(task)
    image = jnp.asarray(np.random.default_rng(2).random((4, 2, 16, 16, 3)), jnp.float32)
    numbers = np.arange(4, dtype=np.int32)
    examples = Examples(numbers, numbers, numbers, ALL)

    @nnx.jit
    def losses(network):
        def embedded(pictures):
            poses = network.encoder(pictures).poses
            if reads == "pooled":
                # 2 x 2 positions of 4 types.
                poses = jnp.stack([jnp.mean(poses[:, kind::4], axis=1) for kind in range(4)], axis=1)
            return network.expander(poses)

        by_hand = vicreg_terms(embedded(image[:, 0]), embedded(image[:, 1]), ALL)
        return *task.loss(network, Views(image), examples, jnp.float32(0), Shard()), by_hand

    loss, metrics, terms = losses(network)
    np.testing.assert_allclose(loss, 2 * terms[0] + 3 * terms[1] + 4 * terms[2], rtol=1e-4)
    np.testing.assert_allclose([metrics[name] for name in terms._fields], np.array(terms), rtol=1e-4)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--variance-weight=0"], "--variance-weight=0"),
        (["--invariance-weight=0"], "--invariance-weight=0"),
        (["--batch-size=1", "--effective-batch=1"], "at least 2"),
        (["--covariance-weight=-1"], "--covariance-weight=-1"),
        (["--expander-dim=1"], "--expander-dim=1"),
    ],
)
def test_settings_that_cannot_learn_are_refused(flags, words):
    with pytest.raises(UserError, match=words):
        parse_config(["--preset=tiny", "--task=vicreg", *flags])


def test_it_has_no_latent_capsules_to_transfer(tmp_path):
    config = dataclasses.replace(preset("tiny", "ssl"), task="vicreg")
    assert checked(config).task == "vicreg"
    assert not Vicreg.transfers
