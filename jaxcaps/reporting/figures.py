"""The charts of the page."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from jaxcaps.data.sampling import evenly_spaced
from jaxcaps.evaluation.one_against_rest import curves, reliability
from jaxcaps.evaluation.plots import panels_of
from jaxcaps.reporting.charts import MOST_IN_LEGEND, PALETTE, Chart, Series
from jaxcaps.reporting.embedding import embed
from jaxcaps.reporting.observation import Observation
from jaxcaps.reporting.pictures import Sprite
from jaxcaps.reporting.results import Predicted
from jaxcaps.training.writers import Row

# A point without a class or group of its own.
NEUTRAL = "#9a9a9a"
# A curve of more points looks the same and is larger.
MOST_POINTS = 400
# Curves that say how the machine ran.
ASIDE = ("skipped", "seconds", "images per second")
# Bokeh escapes the values. The page defines the variable.
THUMBNAIL = """<div style="display:flex;gap:8px;max-width:250px">
<div style="flex:none;width:{side}px;height:{side}px;background:var(--sprite) @left @top"></div>
<div style="overflow-wrap:anywhere;font-size:12px;color:#222">@about<br>@name</div></div>"""


def training_charts(rows: Sequence[Row]) -> tuple[list[Chart], list[Chart]]:
    """The metrics of a run against the epoch, and apart from them the gradient norms and the pace."""
    main: list[Chart] = []
    rest: list[Chart] = []
    for number, panel in enumerate(panels_of(rows)):
        series = [Series(label, epochs, values) for label, (epochs, values) in panel.curves.items()]
        title = panel.title[:1].upper() + panel.title[1:]
        chart = Chart(f"training-{number}", title, "epoch", "", series, logarithmic=panel.logarithmic)
        (rest if panel.logarithmic or panel.title in ASIDE else main).append(chart)
    return main, rest


def shown_classes(predicted: Predicted) -> list[int]:
    """The classes with the most examples, as many as a legend holds, in order."""
    counts = np.bincount(predicted.labels[predicted.labels >= 0], minlength=len(predicted.classes))
    return sorted(np.argsort(-counts, kind="stable")[:MOST_IN_LEGEND].tolist())


def threshold_charts(predicted: Predicted) -> Iterator[Chart]:
    """ROC and precision-recall curves of each class against the rest, and the reliability diagram."""
    known = predicted.labels >= 0
    labels, probabilities = predicted.labels[known], predicted.probabilities[known]
    roc, precision_recall = [], []
    for number in shown_classes(predicted):
        positive, name = labels == number, predicted.classes[number]
        if positive.all() or not positive.any():
            continue
        found = curves(positive, probabilities[:, number], np.ones((len(labels), 1)))
        kept = evenly_spaced(len(found.thresholds), MOST_POINTS)
        hits, alarms, precision = (each[kept, 0] for each in found[1:])
        # The first threshold is infinite.
        thresholds = {"threshold": [1.0, *found.thresholds[kept][1:].tolist()]}
        roc.append(Series(name, alarms, hits, thresholds))
        precision_recall.append(Series(name, hits[1:], precision[1:], {"threshold": thresholds["threshold"][1:]}))
    tips = [("", "@label"), ("threshold", "@threshold{0.000}")]
    yield Chart(
        "roc", "ROC curves", "1 - specificity", "sensitivity", roc, unit=True, diagonal=True,
        tooltip=[*tips, ("sensitivity", "@y{0.000}"), ("1 - specificity", "@x{0.000}")],
    )  # fmt: skip
    yield Chart(
        "precision-recall", "Precision-recall curves", "recall", "precision", precision_recall, unit=True,
        tooltip=[*tips, ("recall", "@x{0.000}"), ("precision", "@y{0.000}")],
    )  # fmt: skip
    confidence, accuracy, counts = reliability(labels, probabilities)
    yield Chart(
        "reliability",
        "Reliability",
        "confidence",
        "accuracy",
        [Series("", confidence, accuracy, {"pictures": counts.tolist()})],
        unit=True,
        diagonal=True,
        tooltip=[("confidence", "@x{0.000}"), ("accuracy", "@y{0.000}"), ("pictures", "@pictures")],
    )


def embedding_chart(
    seen: Observation, names: Sequence[str], groups: np.ndarray, classes: Sequence[str], labels: np.ndarray,
    predicted: np.ndarray | None, thumbnails: Sprite,
) -> tuple[Chart, str]:  # fmt: skip
    """The features of the observed pictures in a plane, with thumbnails on hover; and how they were placed.

    Args:
        seen: the network on pictures of a split.
        names, groups, labels, predicted: of all pictures of the split; `predicted` is None without a classifier.
        classes: the class names.
        thumbnails: of the observed pictures, in order.
    """
    places, method = embed(seen.features)
    labels, groups = labels[seen.rows], groups[seen.rows]
    common = [number for number, _ in Counter(labels[labels >= 0].tolist()).most_common(MOST_IN_LEGEND - 1)]
    shares = Counter(groups.tolist())
    several = sorted(group for group, count in shares.items() if count > 1)
    colour_of_group = {group: PALETTE[n % len(PALETTE)] for n, group in enumerate(several)}
    rank = {number: place for place, number in enumerate(sorted(common))}

    def colour(number: int) -> str:
        return PALETTE[rank[number] % len(PALETTE)] if number in rank else NEUTRAL

    series = []
    for number in [*sorted(common), None]:
        members = np.flatnonzero(labels == number if number is not None else ~np.isin(labels, common))
        if not len(members):
            continue
        rows = seen.rows[members]
        called = [classes[label] if label >= 0 else "unlabelled" for label in labels[members]]
        guesses = None if predicted is None else predicted[rows]
        about = called if guesses is None else [
            f"{name}, predicted {classes[guess]}" for name, guess in zip(called, guesses, strict=True)
        ]  # fmt: skip
        edges = [thumbnails.place(int(place)) for place in members]
        series.append(
            Series(
                "other or unlabelled" if number is None else classes[number],
                places[members, 0],
                places[members, 1],
                {
                    "name": [names[row] for row in rows],
                    "about": about,
                    "left": [f"-{left}px" for left, _ in edges],
                    "top": [f"-{upper}px" for _, upper in edges],
                    "by_class": [colour(label) for label in labels[members].tolist()],
                    "by_prediction": [NEUTRAL] * len(members) if guesses is None else [
                        colour(guess) for guess in guesses.tolist()
                    ],
                    "by_group": [colour_of_group.get(group, NEUTRAL) for group in groups[members].tolist()],
                },
                "points",
            )
        )  # fmt: skip
    tooltip = THUMBNAIL.format(side=thumbnails.side)
    return Chart("embedding", "", "", "", series, bare=True, tooltip=tooltip), method


def capsule_charts(seen: Observation) -> Iterator[Chart]:
    """How active the primary capsules are, and how decided the routing is."""
    if seen.primary is not None:
        yield _histogram("primary", "Primary capsules", "mean norm over the pictures", "capsules",
                         seen.primary.mean(axis=0), (0.0, 1.0))  # fmt: skip
    if seen.entropy is not None:
        low = min(0.9, float(np.floor(seen.entropy.min() * 10) / 10))
        yield _histogram("entropy", "Couplings", "entropy of a picture's couplings (1: uniform)", "pictures",
                         seen.entropy, (low, 1.0))  # fmt: skip


def _histogram(name: str, title: str, x: str, y: str, values: np.ndarray, span: tuple[float, float]) -> Chart:
    span = (min(span[0], float(values.min())), max(span[1], float(values.max())))
    counts, edges = np.histogram(values, bins=25, range=span)
    centres = (edges[1:] + edges[:-1]) / 2
    tips = [(x, "@x{0.000}"), (y, "@y")]
    return Chart(name, title, x, y, [Series("", centres, counts.astype(float), mark="bars")], tooltip=tips)
