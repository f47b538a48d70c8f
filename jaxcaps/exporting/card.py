"""What travels with an exported model: `model.json` for programs and a model card for people."""

from typing import Any

from jaxcaps import __version__
from jaxcaps.data.sources import anonymous
from jaxcaps.evaluation.metrics import ordered_metrics
from jaxcaps.exporting.program import stored_side
from jaxcaps.inference.model import TrainedClassifier
from jaxcaps.plan.config import shareable
from jaxcaps.restoring.run_folder import defined

# How the script of a card reads a picture, as `to_square` does. `given` is the "input" of `model.json`.
READING = """side = given["side"]
picture = cv2.cvtColor(cv2.imread("picture.png"), cv2.COLOR_BGR2RGB)
if given["channels"] == 1:
    picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
height, width = picture.shape[:2]
picture = cv2.resize(picture, (min(width, side), min(height, side)), interpolation=cv2.INTER_AREA)
picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR).reshape(side, side, -1)"""

CARD = """# {title}

A capsule network for {channels} pictures of the classes {classes}, fine-tuned with jaxcaps {version}.

## Intended use

Research. **It is not a medical device**, and no decision about a patient may rest on it. Its probabilities are
calibrated for pictures like those of its validation split.

## How to use it

{usage}
`model.json` says what goes in and what comes out. {preparation}

## Data

Trained on `{data}`, {counts}. The classifier has seen no picture of the test split in training.

## Performance

On the validation split, which also chose the parameters, with 95% bootstrap intervals over its pictures:

| metric | value | 95% interval | always the largest class |
|---|---|---|---|
{metrics}

## Limits

- The scores above are of one run, one seed and one split.
- A picture with `unfamiliarity` above 1 is further from the training pictures than 95% of the validation pictures are.
  The prediction for a picture below 1 can still be wrong.
- The temperature of the probabilities, {temperature:.3g}, was fitted on {fitted_on} validation pictures.
"""


def description(model: TrainedClassifier) -> dict[str, Any]:
    """What a program has to know of an exported model, as JSON types."""
    prepared = model.prepared
    return {
        "version": __version__,
        "classes": model.classes_.tolist(),
        "input": {
            "type": "uint8",
            "shape": ["batch", stored_side(model), stored_side(model), model.channels],
            "side": stored_side(model),
            "channels": model.channels,
            "colours": "RGB" if model.channels == 3 else "grey",
            "resize": ("" if model.channels == 3 else "after colour has become grey (the luma of ITU-R BT.601), ")
            + "to a square without keeping the aspect ratio; by area if a side shrinks, linearly if it grows",
        },
        "output": {
            "probabilities": "calibrated, one for each class",
            "unfamiliarity": "above 1, a picture is unlike those of training",
            **({} if model.norm_scale is None else {"activations": "of the class capsules"}),
        },
        "temperature": model.calibration.temperature,
        "preparation": None if prepared is None else prepared.to_dict(),
        "config": shareable(model.config),
    }


def card(model: TrainedClassifier, usage: str) -> str:
    """The model card, in Markdown."""
    metrics, counts = defined(model.origin.metrics), model.meta["train_counts"]
    shares = [f"{count:,} of {name}" for name, count in zip(model.classes_, counts, strict=True)]
    rows = [
        f"| {name} | {metrics[name]:.3f} | [{low:.3f}, {high:.3f}] | {metrics['majority_baseline'][name]:.3f} |"
        for name, (low, high) in ((name, metrics["intervals"][name]) for name in ordered_metrics())
    ]
    return CARD.format(
        title=model.origin.title,
        channels="colour" if model.channels == 3 else "grey",
        classes=", ".join(model.classes_),
        version=__version__,
        usage=usage,
        preparation=(
            "The pictures are raw: nothing has to be done to them but to resize them."
            if model.prepared is None
            else "**The network learnt from pictures that `data_prep` prepared.** Take yours through the same steps "
            "first: `model.json` lists them under `preparation`."
        ),
        data=anonymous(model.config.data.data),
        counts="labelled training pictures: " + ", ".join(shares),
        metrics="\n".join(rows),
        temperature=model.calibration.temperature,
        fitted_on=model.calibration.fitted_on,
    )
