"""Cohen's kappa."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions, ratio


def cohen_kappa(predictions: WeightedPredictions) -> np.ndarray:
    """(observed - chance agreement) / (1 - chance agreement) of predictions and labels (Cohen 1960).

    It is undefined if all labels and all predictions are of one class.
    """
    total, chance = predictions.total, predictions.agreement_by_chance
    return ratio(np.sum(predictions.hits, axis=1) * total - chance, total**2 - chance)


METRIC = Metric(
    cohen_kappa,
    title="Cohen's kappa",
    panel="agreement beyond chance",
    higher_is_better=True,
    bounds=(-1, 1),
    rank=60,
    in_studies=False,
)
