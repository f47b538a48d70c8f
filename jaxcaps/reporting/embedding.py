"""The features of pictures as points in a plane."""

import numpy as np

# With fewer pictures, t-SNE has no neighbourhoods to keep.
LEAST_FOR_TSNE = 30
PERPLEXITY = 30
COMPONENTS = 50
STEPS = 500


def embed(features: np.ndarray) -> tuple[np.ndarray, str]:
    """Places pictures with similar features side by side: t-SNE of the principal components, or for fewer than 30
    pictures the first two components.

    Args:
        features: float [n, dim].

    Returns:
        float [n, 2], and the name of the method. Pictures lie at the origin if there are fewer than three, or if
        their features are not finite or all equal.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    spread = features - features.mean(axis=0)
    reason = (
        "too few to place" if len(features) < 3
        else "features that are not finite" if not np.isfinite(spread).all()
        else "features that do not differ" if spread.std() < 1e-12
        else None
    )  # fmt: skip
    if reason is not None:
        return np.zeros((len(features), 2)), reason
    components = PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(spread / spread.std())
    if len(features) < LEAST_FOR_TSNE or components.shape[1] < 2:
        return np.pad(components, ((0, 0), (0, 1)))[:, :2], "the first two principal components"
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    # Its threads wait for each other actively: on busy cores, many of them take 20 times as long as one.
    with threadpool_limits(1):
        placed = TSNE(init="pca", perplexity=perplexity, random_state=0, max_iter=STEPS).fit_transform(components)
    return np.asarray(placed, np.float64), f"t-SNE, perplexity {perplexity:.3g}"
