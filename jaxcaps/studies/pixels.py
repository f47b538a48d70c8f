"""The floor: classifiers of scikit-learn on small pictures, which no network should fall below."""

import numpy as np

from jaxcaps.data.dataset import Split

# Side of the pictures they see.
PIXELS = 24
TREES = 500


def classify_pixels(method: str, train: Split, scored: Split, classes: int, seed: int) -> np.ndarray:
    """Fits `method` on the training split, classes weighted equally.

    Args:
        method: "logistic-regression" or "extra-trees" (Geurts et al. 2006).
        train, scored: pictures of the same size.
        classes: how many.
        seed: of the trees.

    Returns:
        Probabilities of the scored split, float [n, classes].
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if method == "logistic-regression":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=5000))
    else:
        model = ExtraTreesClassifier(TREES, class_weight="balanced", random_state=seed % 2**32)
    model.fit(_flat(train), train.labels)
    probabilities = np.zeros((len(scored), classes))
    probabilities[:, model.classes_] = model.predict_proba(_flat(scored))
    return probabilities


def _flat(split: Split) -> np.ndarray:
    return np.stack([split.read(index).reshape(-1) for index in range(len(split))]).astype(np.float32) / 255
