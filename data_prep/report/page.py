"""`report.html`: what was done to a set and what a person should look at, in one page that opens offline."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from data_prep.pipeline.outcome import Outcome, describe
from data_prep.pipeline.record import Record
from data_prep.report.pictures import Shown, histograms, stages, thumbnail
from data_prep.sources.listing import RawFrame
from data_prep.splits import SPLITS

SHOWN_STEP_BY_STEP = 6
SHOWN_TO_LOOK_AT = 12
MATCHED_SAMPLE = 16
LISTED = 20
# Mean grey level of the field of view below which a frame is called almost black. Of 29 real frames the darkest has 37.
ALMOST_BLACK = 15.0
# Below it the colour does not tell the modality well.
UNCERTAIN = 0.75

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
td.number, th.number { text-align: right; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; margin: .4rem 0 1rem; }
figure { margin: 0; max-width: 190px; } figure img { display: block; max-width: 100%; }
figcaption { font-size: .75rem; color: #555; overflow-wrap: anywhere; }
.fine { color: #2c6e2c; } .look { color: #9a4a00; } p.small { font-size: .85rem; color: #555; }
"""


def report_page(outcome: Outcome, record: Record) -> bytes:
    """The page."""
    facts = describe(outcome)
    counts = facts["counts"]
    title = f"{counts['images']} prepared images"
    body = [
        f"<h1>{title}</h1>",
        f"<p>From <code>{escape(outcome.config.source)}</code>, preset {outcome.config.preset}. Split: "
        f"{escape(outcome.choice.split_by)}. {counts['skipped']} files skipped.</p>",
        "<h2>Counts</h2>",
        _cross_table(outcome, "class", [frame.label or "unlabelled" for frame in outcome.frames]),
        _cross_table(outcome, "modality", [outcome.modalities[one.name] or "unknown" for one in outcome.frames]),
        "<h2>What was done</h2>",
        _what_was_done(outcome, facts),
        "<h2>Step by step</h2>",
        _step_by_step(outcome, record),
        *_matching(outcome, record),
        "<h2>Frames that need a look</h2>",
        *_to_look_at(outcome),
        "<h2>Group leakage</h2>",
        _leaks(outcome),
        "<h2>Skipped files</h2>",
        _skipped(outcome),
        *_notes(outcome),
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    return page.encode("utf-8", "backslashreplace")


def _cross_table(outcome: Outcome, what: str, values: Sequence[str]) -> str:
    """Rows of classes or modalities, a column for each split."""
    counts = Counter(zip(values, (frame.split for frame in outcome.frames), strict=True))
    rows = [
        [name, *(counts[name, split] for split in SPLITS), sum(counts[name, split] for split in SPLITS)]
        for name in sorted(set(values))
    ]
    if len(rows) > 1:
        rows.append(["all", *(sum(counts[name, split] for name in set(values)) for split in SPLITS), len(values)])
    return _table([what, *SPLITS, "all"], rows)


def _what_was_done(outcome: Outcome, facts: dict[str, Any]) -> str:
    steps, inspections = outcome.config.steps, [outcome.inspections[frame.name] for frame in outcome.frames]
    borders = Counter(one.border for one in inspections)
    matched = facts["fitted"]["reference_histogram"]
    statistics = facts["statistics"]
    overlays = sum(one.overlay_share > 0 for one in inspections)
    stripped = sum(bool(one.metadata) for one in inspections)
    kinds = Counter(kind for one in inspections for kind in one.metadata)
    found = "; ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
    rows = [
        [
            "borders",
            ", ".join(f"{name}: {count}" for name, count in sorted(borders.items())) if steps.borders else "off",
        ],
        ["overlays (text, guide boxes)", f"masked on {overlays} frames" if steps.overlays else "off"],
        ["metadata", f"stripped from {stripped} files" + (f" ({found})" if found else "")],
        ["denoise", f"Gaussian blur, sigma {steps.denoise_sigma:g}" if steps.denoise else "off"],
        ["histogram matching", _matching_words(outcome, matched)],
        ["CLAHE", f"clip limit {steps.clip_limit:g}, {steps.tiles}x{steps.tiles} tiles" if steps.clahe else "off"],
        ["specular highlights", "painted over" if steps.highlights else "off"],
        ["resize", f"{steps.size} pixels, {steps.fit}" if steps.resize else "off"],
    ]
    if statistics["mean"]:
        for name in ("mean", "standard_deviation"):
            numbers = ", ".join(f"{value:.4f}" for value in statistics[name])
            rows.append([f"{name.replace('_', ' ')} of the training split, RGB in [0, 1]", numbers])
    return _table(["step", "what was done"], rows)


def _matching_words(outcome: Outcome, matched: dict[str, Any] | None) -> str:
    steps = outcome.config.steps
    if not steps.match:
        return "off"
    if matched is None:
        return f"not done: no training frame is {steps.match_to}"
    return f"{matched['frames_matched']} frames to the sum of {matched['on']}"


def _step_by_step(outcome: Outcome, record: Record) -> str:
    rows = []
    for frame in _examples(outcome):
        shown = _shown(outcome, record, frame)
        figures = [_figure(picture, name) for name, picture in stages(shown, outcome.config.steps, _limit(outcome))]
        rows.append(f'<h3>{_told(outcome, frame)}</h3>\n<div class="row">{"".join(figures)}</div>')
    if outcome.config.steps.overlays:
        blurred = "Overlays are outlined, and blurred so that this page tells no name."
        rows.insert(0, f'<p class="small">{blurred}</p>')
    return "\n".join(rows)


def _examples(outcome: Outcome) -> list[RawFrame]:
    """A few frames that differ: of each modality and class, with and without overlays, the first of each."""
    seen: dict[object, RawFrame] = {}
    for frame in outcome.frames:
        one = outcome.inspections[frame.name]
        seen.setdefault((outcome.modalities[frame.name], one.overlay_share > 0, one.border, frame.label), frame)
    chosen = list(seen.values())[:SHOWN_STEP_BY_STEP]
    rest = (frame for frame in outcome.frames if frame not in chosen)
    return [*chosen, *itertools.islice(rest, SHOWN_STEP_BY_STEP - len(chosen))]


def _matching(outcome: Outcome, record: Record) -> list[str]:
    if outcome.reference is None:
        return []
    frames = outcome.matched
    # Spread over the set.
    sample = frames[:: max(1, len(frames) // MATCHED_SAMPLE)][:MATCHED_SAMPLE]
    shown = [_shown(outcome, record, frame) for frame in sample]
    figure = histograms(shown, outcome.reference, outcome.config.steps, _limit(outcome))
    if figure is None:
        return []
    return [
        "<h2>Histograms before and after matching</h2>",
        f"<p>{len(sample)} of the {len(frames)} matched frames, within the field of view; the reference is the sum of "
        f"{outcome.fitted_on} training frames of {outcome.config.steps.match_to}.</p>",
        f'<img alt="histograms" src="data:image/png;base64,{figure}">',
    ]


def _to_look_at(outcome: Outcome) -> list[str]:
    steps = outcome.config.steps
    frames = outcome.frames
    found = {frame.name: outcome.inspections[frame.name] for frame in frames}
    kinds: list[tuple[str, list[RawFrame]]] = [
        ("almost black", [frame for frame in frames if found[frame.name].brightness < ALMOST_BLACK]),
        ("odd files", [frame for frame in frames if found[frame.name].notes]),
    ]
    if steps.borders:
        kinds.insert(0, ("no border found", [one for one in frames if found[one.name].border == "nothing found"]))
    if steps.guess_modality:
        unsure = [one for one in frames if one.modality is None and found[one.name].confidence < UNCERTAIN]
        kinds.append(("modality uncertain", unsure))
    parts = []
    for what, which in kinds:
        parts.append(_heading(what, len(which)))
        figures = []
        for frame in which[:SHOWN_TO_LOOK_AT]:
            picture = thumbnail(frame.path, steps, _limit(outcome))
            caption = "; ".join([frame.name, *found[frame.name].notes])
            if what == "modality uncertain":
                caption += f"; {found[frame.name].modality} {found[frame.name].confidence:.2f}"
            figures.append(_figure(picture, caption))
        parts.append(f'<div class="row">{"".join(figures)}</div>')
        if len(which) > SHOWN_TO_LOOK_AT:
            parts.append(f"<p>and {len(which) - SHOWN_TO_LOOK_AT} more: see frames.csv</p>")
    near = outcome.choice.near
    parts.append(_heading("near-duplicates in two splits", len(near)))
    splits = {frame.name: frame for frame in outcome.choice.frames}
    for pair in near[: SHOWN_TO_LOOK_AT // 2]:
        figures = [
            _figure(thumbnail(splits[name].path, steps, _limit(outcome)), f"{name} ({splits[name].split})")
            for name in pair
        ]
        parts.append(f'<div class="row">{"".join(figures)}</div>')
    if len(near) > SHOWN_TO_LOOK_AT // 2:
        parts.append("<p>All pairs are in near_duplicates.csv.</p>")
    return parts


def _leaks(outcome: Outcome) -> str:
    leaks = outcome.choice.leaks
    if not leaks:
        return '<p class="fine">No group lies in more than one split.</p>'
    rows = [[leak.group, *(leak.counts.get(split, 0) for split in SPLITS)] for leak in leaks]
    dropped = outcome.config.leaks == "drop"
    how = (
        "Held-out frames of groups that are in training were left out."
        if dropped
        else "They were kept as the source has them; in labels.csv their groups are told apart by split. A score on "
        "the held-out splits counts some of what was learnt by heart: --leaks=drop leaves those frames out."
    )
    return f'<p class="look">Groups in more than one split: {len(leaks)}. {how}</p>' + _table(
        ["group", *SPLITS], rows[:LISTED]
    )


def _skipped(outcome: Outcome) -> str:
    if not outcome.skipped:
        return '<p class="fine">None.</p>'
    more = f"<p>and {len(outcome.skipped) - LISTED} more: see skipped.csv</p>" if len(outcome.skipped) > LISTED else ""
    return _table(["file", "reason"], outcome.skipped[:LISTED]) + more


def _notes(outcome: Outcome) -> list[str]:
    if not outcome.listing.notes:
        return []
    items = "".join(f"<li>{escape(note)}</li>" for note in outcome.listing.notes)
    return ["<h2>About the source</h2>", f"<ul>{items}</ul>"]


def _shown(outcome: Outcome, record: Record, frame: RawFrame) -> Shown:
    reference = outcome.reference if frame in outcome.matched else None
    return Shown(frame.path, outcome.inspections[frame.name], record.masks(frame.name), reference)


def _told(outcome: Outcome, frame: RawFrame) -> str:
    facts = (frame.label, frame.split, outcome.modalities[frame.name])
    return escape(", ".join([frame.name, *(fact for fact in facts if fact)]))


def _limit(outcome: Outcome) -> int:
    return outcome.config.max_pixels


def _heading(what: str, count: int) -> str:
    return f'<h3 class="{"look" if count else "fine"}">{what}: {count}</h3>'


def _figure(picture: str | None, caption: str) -> str:
    image = "(no longer readable)" if picture is None else f'<img alt="" src="data:image/jpeg;base64,{picture}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return f'<td class="number">{value}</td>' if isinstance(value, int) else f"<td>{escape(str(value))}</td>"
