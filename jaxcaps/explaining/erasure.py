"""Deletion and insertion: whether a map says what the score depends on."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxcaps.errors import UserError
from jaxcaps.explaining.attributions import Filling, filled
from jaxcaps.explaining.capsules import Target, index_of
from jaxcaps.explaining.subject import Picture, classifier_of, scores_of, subject_of
from jaxcaps.functional import erasure_curves
from jaxcaps.inference.model import TrainedEncoder

STEPS = 20


class Erasure(NamedTuple):
    """The calibrated probability of a class while pixels are deleted or inserted, the most important first.

    Attributes:
        deletion, insertion: float32 [..., points], over equal shares of the pixels from none to all.
    """

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> np.ndarray:
        """The area under the deletion curve, [...] in [0, 1]: the lower the better."""
        return _area(self.deletion)

    @property
    def insertion_area(self) -> np.ndarray:
        """The area under the insertion curve, [...] in [0, 1]: the higher the better."""
        return _area(self.insertion)


def deletion_insertion(
    model: TrainedEncoder,
    picture: Picture,
    importance: np.ndarray,
    target: Target = None,
    *,
    steps: int = STEPS,
    filling: Filling = "blur",
) -> Erasure:
    """Scores maps by deletion and insertion (Petsiuk et al. 2018, arXiv 1806.07421, section 3.2).

    Compare a map with others of the same picture, and with random numbers: the areas of different pictures differ.

    Args:
        model: a classifier.
        picture: one picture, in any form that `model.preprocess` takes.
        importance: [..., size, size], of the size of the network's input; the highest pixels go first.
        target: name or index of the class. Default: the predicted one.
        steps: number of equal parts that the pixels are taken in.
        filling: what deleted pixels show, and insertion starts from: the "blur"red picture or its "mean" colour.

    Raises:
        UserError: the model has no classes or not this one, the maps have another size, or there is not exactly one
            readable picture.
    """
    classifier, size = classifier_of(model), model.image_size
    importance = np.asarray(importance, np.float32)
    if importance.shape[-2:] != (size, size):
        raise UserError(f"maps of shape {list(importance.shape)}: [..., {size}, {size}] expected")
    if steps < 1:
        raise UserError(f"steps={steps}: give a number of at least 1")
    subject = subject_of(model, picture)
    chosen = index_of(model, subject, target)
    maps, hidden = jnp.asarray(importance.reshape(-1, size, size)), filled(subject.image, filling)
    curves = erasure_curves(scores_of(classifier, subject), subject.image, hidden, maps, steps=steps)
    leading = importance.shape[:-2]
    return Erasure(*(np.asarray(each)[..., chosen].reshape(*leading, steps + 1) for each in curves))


def _area(curve: np.ndarray) -> np.ndarray:
    return np.asarray(np.trapezoid(curve, dx=1 / (curve.shape[-1] - 1), axis=-1))
