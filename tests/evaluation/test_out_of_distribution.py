"""Distances to the training features, against scikit-learn and by hand."""

import numpy as np
from sklearn.covariance import LedoitWolf

from jaxcaps.evaluation.out_of_distribution import fit_gaussian, unit


def test_distances_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    others = rng.normal(size=(7, 5)) * 10
    expected = np.sqrt(LedoitWolf().fit(features).mahalanobis(others))
    np.testing.assert_allclose(fit_gaussian(features).distance(others), expected, rtol=1e-8)


def test_equal_training_pictures_say_nothing_of_others():
    gaussian = fit_gaussian(np.ones((4, 3)))
    np.testing.assert_array_equal(gaussian.distance(np.array([[1.0, 1.0, 1.0], [5.0, 2.0, 1.0]])), [0, 0])


def test_the_unit_is_not_exceeded_by_95_percent():
    values = np.arange(1.0, 101.0)
    assert unit(values) == 96
    assert unit(values[:3]) == 3
    # Nothing is flagged if all validation pictures have the score 0.
    assert 0 / unit(np.zeros(3)) < 1
