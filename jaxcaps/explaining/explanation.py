"""All that the page shows of one picture."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jaxcaps.explaining.capsules import capsule_names, capsule_scores, has_capsules
from jaxcaps.explaining.couplings import CouplingMaps, coupling_maps
from jaxcaps.explaining.erasure import Erasure, deletion_insertion
from jaxcaps.explaining.maps import kinds_of, maps_of
from jaxcaps.explaining.perturbation import Perturbed, has_decoder, perturb
from jaxcaps.explaining.subject import Picture, Subject, subject_of
from jaxcaps.inference.model import TrainedClassifier, TrainedEncoder

# Classes or latent capsules that are explained, the most active first.
SHOWN = 3
# Random maps whose curves are averaged: the baseline of deletion and insertion.
RANDOM = 4
CHANCE = "random"


@dataclass(frozen=True)
class Explanation:
    """
    Attributes:
        image: float32 [size, size, channels], the picture as the network sees it.
        names: of all classes or latent capsules.
        shown: indices of those that are explained, the most active first.
        scores: float32 [capsules], the calibrated probabilities of a classifier, else the activations.
        couplings: None for a network without capsules.
        maps: {kind: float32 [shown, size, size]}; the couplings' are those of the last iteration. Gradients and
            occlusion only for a classifier.
        erasures: {kind: curves [shown, points]}, with the kind "random"; empty without classes.
        frames: {capsule: pictures while its dimensions are moved}; empty without a decoder.
    """

    image: np.ndarray
    names: tuple[str, ...]
    shown: tuple[int, ...]
    scores: np.ndarray
    couplings: CouplingMaps | None
    maps: Mapping[str, np.ndarray]
    erasures: Mapping[str, Erasure]
    frames: Mapping[int, Perturbed]


def explain_picture(model: TrainedEncoder, picture: Picture, *, shown: int = SHOWN) -> Explanation:
    """Explains one picture by all means that the network has.

    Args:
        model: of `jaxcaps.explain.load`.
        picture: one picture, in any form that `model.preprocess` takes.
        shown: number of classes or capsules, the most active first.

    Raises:
        UserError: there is not exactly one readable picture.
    """
    subject = subject_of(model, picture)
    scores = capsule_scores(model, subject)
    chosen = tuple(int(one) for one in np.argsort(-scores, kind="stable")[:shown])
    couplings = coupling_maps(model, subject) if has_capsules(model) else None
    maps = maps_of(model, subject, chosen, kinds_of(model), couplings)
    classes = isinstance(model, TrainedClassifier)
    # The decoder of a classifier has learnt from the capsule of the true class; latent capsules are all decoded.
    moved = (chosen[:1] if classes else chosen) if has_decoder(model) else ()
    return Explanation(
        np.asarray(subject.image),
        capsule_names(model),
        chosen,
        scores,
        couplings,
        maps,
        _erasures(model, subject, chosen, maps) if classes else {},
        {one: perturb(model, subject, one) for one in moved},
    )


def _erasures(
    model: TrainedEncoder, subject: Subject, chosen: tuple[int, ...], maps: Mapping[str, np.ndarray]
) -> dict[str, Erasure]:
    random = np.random.default_rng(0).random((RANDOM, model.image_size, model.image_size), np.float32)
    curves = []
    for row, one in enumerate(chosen):
        stack = np.concatenate([[each[row] for each in maps.values()], random])
        found = deletion_insertion(model, subject, stack, one)
        curves.append([np.concatenate([each[:-RANDOM], each[-RANDOM:].mean(axis=0, keepdims=True)]) for each in found])
    deletion, insertion = (np.stack([pair[part] for pair in curves], axis=1) for part in (0, 1))
    return {kind: Erasure(deletion[row], insertion[row]) for row, kind in enumerate((*maps, CHANCE))}
