"""The kinds of maps, and any of them for some classes or latent capsules."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcaps.errors import UserError
from jaxcaps.explaining.attributions import Method, gradient_map, occlusion_maps
from jaxcaps.explaining.capsules import Target, has_capsules, index_of
from jaxcaps.explaining.couplings import CouplingMaps, coupling_maps
from jaxcaps.explaining.drawing import full_colour, overlay
from jaxcaps.explaining.subject import Picture, Subject, subject_of
from jaxcaps.inference.model import TrainedClassifier, TrainedEncoder


class Kind(NamedTuple):
    """
    Attributes:
        caption: what colours mean.
        signed: whether values below 0 mean something.
        field: the array of `CouplingMaps` that it shows, if it follows couplings. Other kinds need classes.
    """

    caption: str
    signed: bool
    field: str | None = None


KINDS = {
    "couplings": Kind("coupling times activation of the primary capsules", False, "assigned"),
    "votes": Kind("what the coupled votes add to the capsule's length (red) or take from it (blue)", True,
                  "contributions"),
    "smooth gradient": Kind("SmoothGrad of the logit", False),
    "integrated gradient": Kind("integrated gradients of the logit: red raises it, blue lowers it", True),
    "occlusion": Kind("fall of the probability when a square is blurred (red), or rise (blue)", True),
}  # fmt: skip


def kinds_of(model: TrainedEncoder) -> tuple[str, ...]:
    """The kinds of maps that explain a model: couplings need capsules, the others classes."""
    classes, capsules = isinstance(model, TrainedClassifier), has_capsules(model)
    return tuple(name for name, kind in KINDS.items() if (classes if kind.field is None else capsules))


def maps_of(
    model: TrainedEncoder,
    subject: Subject,
    chosen: Sequence[int],
    kinds: Sequence[str],
    couplings: CouplingMaps | None,
) -> dict[str, np.ndarray]:
    """Maps by kind, float32 [chosen, size, size], of some classes or latent capsules."""
    found = {}
    for name in kinds:
        field = KINDS[name].field
        if field is not None:
            found[name] = getattr(couplings, field)[-1, list(chosen)]
        elif name == "occlusion":
            found[name] = occlusion_maps(model, subject)[list(chosen)]
        else:
            method: Method = "smooth" if name == "smooth gradient" else "integrated"
            found[name] = np.stack([gradient_map(model, subject, one, method=method) for one in chosen])
    return found


def overlay_images(
    model: TrainedEncoder, picture: Picture, target: Target = None, *, kinds: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Draws maps of one class or latent capsule over the grey picture.

    Args:
        model: of `jaxcaps.explain.load`.
        picture: one picture, in any form that `model.preprocess` takes.
        target: name or index of the class, or index of the latent capsule. Default: the most active one.
        kinds: some of "couplings" and "votes" (both of the last iteration), "smooth gradient", "integrated gradient"
            and "occlusion". Default: all that the network has. Occlusion takes the longest.

    Returns:
        {kind: uint8 [size, size, 3]}, of the size of the network's input. Each map has full colour above the
        0.99 quantile of its absolute values.

    Raises:
        UserError: the network has no such class, capsule or kind of map, or there is not exactly one readable picture.
    """
    known = kinds_of(model)
    kinds = known if kinds is None else kinds
    for name in kinds:
        if name not in known:
            raise UserError(f"{name!r} is not a map of {model.restore}; choose from {', '.join(known)}")
    subject = subject_of(model, picture)
    couplings = coupling_maps(model, subject) if any(KINDS[name].field for name in kinds) else None
    found = maps_of(model, subject, [index_of(model, subject, target)], kinds, couplings)
    image = np.asarray(subject.image)
    return {
        name: overlay(image, values[0], full_colour(values), signed=KINDS[name].signed)
        for name, values in found.items()
    }
