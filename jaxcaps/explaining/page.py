"""One page about one picture, which opens offline."""

from typing import Any

import numpy as np

import jaxcaps
from data_prep.report.template import page_template
from jaxcaps.explaining.drawing import as_bytes, full_colour, overlay
from jaxcaps.explaining.erasure import Erasure
from jaxcaps.explaining.explanation import CHANCE, Explanation
from jaxcaps.explaining.maps import KINDS
from jaxcaps.explaining.perturbation import Perturbed
from jaxcaps.reporting.pictures import picture_uri, resized, webp_uri

# Sides in pixels of the picture and its maps, and of a frame of the decoder.
SIDE, FRAME = 224, 96
# The largest number of dimensions whose frames are shown. WebP has at most 16383 pixels a side.
MOST = 64
# Of a plot of curves, in the units of its drawing.
WIDTH, HEIGHT = 200.0, 120.0


def render(explanation: Explanation, name: str, model: str, notes: tuple[str, ...] = ()) -> str:
    """The page as HTML. It holds everything it shows and loads nothing.

    Args:
        explanation: of the picture.
        name: of the picture.
        model: the name of the run.
        notes: what the reader has to know, such as why there are no sliders.
    """
    classes = bool(explanation.erasures)
    couplings = explanation.couplings
    page = page_template("jaxcaps.explaining").render(
        name=name,
        model=model,
        what="class" if classes else "latent capsule",
        classes=classes,
        picture=picture_uri(as_bytes(explanation.image), SIDE),
        capsules=[_capsule(explanation, row) for row in range(len(explanation.shown))],
        entropies=[] if couplings is None else [f"{value:.4f}" for value in couplings.entropy],
        notes=notes,
        width=WIDTH,
        height=HEIGHT,
        version=jaxcaps.__version__,
    )
    # Names of files may hold bytes that are not UTF-8.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _capsule(explanation: Explanation, row: int) -> dict[str, Any]:
    """What the page shows of one class or latent capsule."""
    index = explanation.shown[row]
    one = {kind: Erasure(each.deletion[row], each.insertion[row]) for kind, each in explanation.erasures.items()}
    return {
        "index": index,
        "name": explanation.names[index],
        "score": f"{explanation.scores[index]:.3f}",
        "figures": [_figure(explanation, kind, row) for kind in explanation.maps],
        "areas": [
            (kind, f"{float(each.deletion_area):.3f}", f"{float(each.insertion_area):.3f}", kind == CHANCE)
            for kind, each in one.items()
        ],
        "plots": [
            ("Deletion", [_points(each.deletion) for each in one.values()]),
            ("Insertion", [_points(each.insertion) for each in one.values()]),
        ],
        "frames": _frames(explanation.frames[index]) if index in explanation.frames else None,
    }


def _figure(explanation: Explanation, kind: str, row: int) -> dict[str, Any]:
    """The overlays of a map: one for each iteration, or one."""
    values, about = explanation.maps[kind][row][None], KINDS[kind]
    limit = full_colour(values)
    if about.field is not None:
        # Different iterations and capsules share one scale.
        every = getattr(explanation.couplings, about.field)
        values, limit = every[:, explanation.shown[row]], full_colour(every[:, list(explanation.shown)])
    uris = [picture_uri(overlay(explanation.image, each, limit, signed=about.signed), SIDE) for each in values]
    return {"kind": kind, "caption": about.caption, "uris": uris}


def _points(curve: np.ndarray) -> str:
    shares = np.linspace(0, 1, len(curve))
    return " ".join(f"{WIDTH * x:.1f},{HEIGHT * (1 - y):.1f}" for x, y in zip(shares, curve, strict=True))


def _frames(perturbed: Perturbed) -> dict[str, Any]:
    """All frames in one picture: a row for each of the dimensions that change the picture most, in this order."""
    frames = perturbed.frames
    changes = np.abs(frames[:, -1] - frames[:, 0]).mean(axis=(1, 2, 3))
    order = np.argsort(-changes, kind="stable")[:MOST]
    side = min(FRAME, frames.shape[2])
    rows = [np.concatenate([resized(as_bytes(frame), side) for frame in frames[one]], axis=1) for one in order]
    middle = len(perturbed.offsets) // 2
    return {
        "uri": webp_uri(np.concatenate(rows)),
        "steps": len(perturbed.offsets),
        "middle": middle,
        "offsets": [f"{value:+.2f}" for value in perturbed.offsets],
        "left_out": len(changes) - len(order),
        "dimensions": [{"number": int(one), "value": f"{perturbed.pose[one]:.3f}"} for one in order],
    }
