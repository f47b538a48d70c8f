"""Fills the template `page.html` with the results of a run."""

from functools import cache
from typing import Any

import jaxcaps
from data_prep.report.template import page_template
from jaxcaps.plan.config import without_folders, yaml_text
from jaxcaps.reporting import tables
from jaxcaps.reporting.classifier_sections import classifier_sections, comparison
from jaxcaps.reporting.inputs import Inputs
from jaxcaps.reporting.network_sections import capsules, embedding, reconstructions
from jaxcaps.reporting.pictures import sprite
from jaxcaps.reporting.run_sections import diagnosis, headline, training, what_was_run

TITLES = {
    "comparison": "Comparison",
    "run": "What was run",
    "scores": "Scores",
    "elsewhere": "Other splits and data",
    "confusion": "Confusion matrix",
    "thresholds": "Thresholds and calibration",
    "mistakes": "The most confident mistakes",
    "diagnosis": "Diagnosis",
    "reconstructions": "Reconstructions",
    "embedding": "Map of the validation pictures",
    "capsules": "Capsules and couplings",
    "training": "Training curves",
    "configuration": "Configuration",
}


def render(inputs: Inputs) -> str:
    """The page as HTML. It holds everything it shows and loads nothing.

    Raises:
        UserError: a picture can no longer be read.
    """
    results = inputs.results
    sections: dict[str, dict[str, Any]] = {}
    if inputs.comparisons:
        sections["comparison"] = {"runs": [comparison(inputs, one) for one in inputs.comparisons]}
    sections["run"] = what_was_run(inputs)
    if results.predicted is not None:
        sections |= classifier_sections(inputs, results.predicted)
    else:
        sections["scores"] = {"pretraining": tables.flat(results.metrics)}
        sections["diagnosis"] = diagnosis(results.diagnosis)
    if inputs.observed.made:
        sections["reconstructions"] = reconstructions(inputs.observed)
    thumbnails = sprite(inputs.observed.thumbnails)
    sections["embedding"] = embedding(inputs, thumbnails)
    if inputs.observed.primary is not None:
        sections["capsules"] = capsules(inputs)
    sections["training"] = training(results)
    sections["configuration"] = {"yaml": yaml_text(without_folders(results.config))}
    kind = "classifier" if results.config.stage == "finetune" else f"pre-training ({results.config.task})"
    page = page_template("jaxcaps.reporting").render(
        title=f"{results.name}: {kind}",
        sections=sections,
        titles=TITLES,
        headline=headline(results),
        bokeh=_bokeh(),
        sprite=thumbnails.uri,
        side=thumbnails.side,
        version=jaxcaps.__version__,
    )
    # Names of files may hold bytes that are not UTF-8.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _bokeh() -> str:
    from bokeh.resources import Resources

    # The core alone: no widgets, tables or mathematics.
    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
