"""Baselines: classifiers of scikit-learn on small pictures. A network should not be worse."""

from typing import Any

import numpy as np

from jaxcaps.data.dataset import Split

# Side of the pictures that they see.
PIXELS = 24


def classify_pixels(model: Any, train: Split, scored: Split, classes: int) -> np.ndarray:
    """Fits an estimator of scikit-learn on the training split.

    Args:
        model: has `fit`, `predict_proba` and `classes_`.
        train, scored: pictures of the same size.
        classes: how many there are; the training split may lack some.

    Returns:
        Probabilities of the scored split, float [n, classes].
    """
    model.fit(_flat(train), train.labels)
    probabilities = np.zeros((len(scored), classes))
    probabilities[:, model.classes_] = model.predict_proba(_flat(scored))
    return probabilities


def _flat(split: Split) -> np.ndarray:
    return np.stack([split.read(index).reshape(-1) for index in range(len(split))]).astype(np.float32) / 255
