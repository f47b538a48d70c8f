"""How far a picture lies from those that a classifier learnt from.

The distance is that of Mahalanobis between the picture's features and a Gaussian fitted to the training features. Lee
et al. 2018 use one Gaussian for each class, Rippel et al. 2021 one for all, which needs no labels.
"""

from typing import NamedTuple

import numpy as np

# The share of validation pictures that are not flagged.
FAMILIAR_SHARE = 0.95


class Gaussian(NamedTuple):
    """A Gaussian of features.

    Attributes:
        mean: [features].
        whitening: [features, features]. Features, centred and multiplied by it, have unit covariance.
    """

    mean: np.ndarray
    whitening: np.ndarray

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Returns the Mahalanobis distance of each row of `features` [n, features]: [n]."""
        # For a batch of pictures, the threads of BLAS, which `@` would use, cost fifty times as much as the product.
        return np.linalg.norm(np.einsum("nf,fk->nk", features - self.mean, self.whitening), axis=1)


def fit_gaussian(features: np.ndarray) -> Gaussian:
    """Fits a Gaussian, with the covariance of Ledoit and Wolf 2004, which is regular even for few examples.

    Args:
        features: float [n, features], n at least 2.
    """
    # The import is slow, and only training needs it.
    from sklearn.covariance import ledoit_wolf

    features = np.asarray(features, np.float64)
    covariance, _ = ledoit_wolf(features)
    variances, axes = np.linalg.eigh(covariance)
    # An axis along which no training picture differs says nothing.
    kept = variances > np.finfo(np.float64).eps * max(variances.max(), 1e-30)
    scales = np.where(kept, 1 / np.sqrt(np.where(kept, variances, 1)), 0)
    return Gaussian(features.mean(axis=0), axes * scales)


def unit(values: np.ndarray) -> float:
    """Returns the value that at least 95% of the validation pictures do not exceed. Scores are divided by it."""
    return max(float(np.quantile(values, FAMILIAR_SHARE, method="higher")), float(np.finfo(np.float32).tiny))
