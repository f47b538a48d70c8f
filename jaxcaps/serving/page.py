"""The page, made of Gradio's components."""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from data_prep.sources.folder import SUFFIXES
from jaxcaps.data.decoding import BadImage
from jaxcaps.explaining import capsule_poses, decode, overlay_images
from jaxcaps.explaining.drawing import as_bytes
from jaxcaps.explaining.maps import KINDS, kinds_of
from jaxcaps.explaining.perturbation import has_decoder
from jaxcaps.explaining.subject import stored_subject
from jaxcaps.inference.model import TrainedClassifier
from jaxcaps.reporting.pictures import resized
from jaxcaps.serving.answers import Answer, answer

NOTICE = "Research only. **Not a medical device:** no decision about a patient may rest on what this page says."
# The system's fonts: others would be fetched from the network.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
# Side of the shown pictures in pixels.
SIDE = 320
# The largest change of a pose's dimension by a slider, and its step. Poses have norms below 1.
REACH, STEP = 0.5, 0.05
# Seconds after which a visitor's picture is forgotten.
KEPT = 3600


class Page:
    """The page of a classifier, `blocks`. What it shows of a picture is computed here.

    Args:
        model: the classifier.
        name: what the page calls it.
    """

    def __init__(self, model: TrainedClassifier, name: str):
        self.model = model
        self.classes = [str(each) for each in model.classes_]
        kinds, dimensions = kinds_of(model), model.config.model.capsule_dim if has_decoder(model) else 0
        with gr.Blocks(title=f"{name}: jaxcaps", analytics_enabled=False, delete_cache=(60, 600)) as self.blocks:
            gr.Markdown(f"# {name}\n{NOTICE}", sanitize_html=True)
            stored = gr.State(time_to_live=KEPT)
            with gr.Row():
                with gr.Column():
                    file = gr.File(label="Drop a picture here", file_types=[*sorted(SUFFIXES), ".dcm"], height=140)
                    picture = _image("As the network sees it")
                with gr.Column():
                    shares = gr.Label(label="Probabilities", num_top_classes=8)
                    words = gr.Markdown(sanitize_html=True)
            with gr.Row():
                with gr.Column():
                    target = gr.Dropdown(self.classes, label="Why this class?", interactive=True)
                    kind = gr.Radio([*kinds], value=kinds[0], label="Map", interactive=True)
                    caption = gr.Markdown(_caption(kinds[0]))
                overlaid = _image("The map over the picture")
            file.change(self.classify, file, [picture, shares, words, stored, target], api_name="classify").then(
                self.map_of, [stored, target, kind], [overlaid, caption], api_visibility="private"
            )
            for choice in (target, kind):
                choice.input(self.map_of, [stored, target, kind], [overlaid, caption], api_visibility="private")
            if dimensions:
                self._sliders(dimensions, file, stored, target)

    def _sliders(self, dimensions: int, file: gr.File, stored: gr.State, target: gr.Dropdown) -> None:
        """Adds a slider for each dimension of a class capsule, and the picture that the decoder makes of it."""
        offsets = []
        with gr.Accordion("Move the dimensions of the class capsule", open=True), gr.Row():
            with gr.Column():
                made = _image("What the decoder makes of the capsule")
                reset = gr.Button("Back to 0")
            # Two columns, which lie below each other on a narrow screen.
            for numbers in np.array_split(np.arange(1, dimensions + 1), 2):
                with gr.Column(min_width=200):
                    offsets += [
                        gr.Slider(-REACH, REACH, 0, step=STEP, label=f"dimension {number}", interactive=True)
                        for number in numbers
                    ]
        inputs = [stored, target, *offsets]
        for offset in offsets:
            offset.release(self.decoded, inputs, made, api_visibility="private", show_progress="hidden")
        for event in (reset.click, file.change, target.input):
            event(lambda: [0] * dimensions, None, offsets, api_visibility="private")
        reset.click(self.decoded, [stored, target], made, api_visibility="private")
        # The chosen class follows the picture, and the picture of the capsule follows the class.
        target.change(self.decoded, [stored, target], made, api_visibility="private")
        stored.change(self.decoded, [stored, target], made, api_visibility="private")

    def classify(self, file: str | None) -> tuple[Any, ...]:
        """The picture as the network sees it, probabilities by class, words, the stored picture, and the class."""
        if file is None:
            return None, None, "", None, None
        try:
            found = answer(self.model, Path(file))
        except BadImage as error:
            # An error in place of values would leave the answer to the picture before.
            return None, None, f"**Not classified:** {error}.", None, None
        return _shown(found.stored), found.probabilities, _words(found), found.stored, found.predicted

    def map_of(self, stored: np.ndarray | None, target: str | None, kind: str) -> tuple[np.ndarray | None, str]:
        """The map over the picture, and what its colours mean."""
        if stored is None or target is None:
            return None, _caption(kind)
        (found,) = overlay_images(self.model, stored_subject(self.model, stored), target, kinds=[kind]).values()
        return _shown(found), _caption(kind)

    def decoded(self, stored: np.ndarray | None, target: str | None, *offsets: float) -> np.ndarray | None:
        """The decoder's picture of the class's capsule, moved by the offsets."""
        if stored is None or target is None:
            return None
        subject = stored_subject(self.model, stored)
        pose = capsule_poses(self.model, subject)[self.classes.index(target)]
        moved = pose + np.asarray(offsets, np.float32) if offsets else pose
        return _shown(as_bytes(decode(self.model, subject, moved, target)))


def _caption(kind: str) -> str:
    words = KINDS[kind].caption
    return f"{words[0].upper()}{words[1:]}."


def _image(label: str) -> gr.Image:
    return gr.Image(label=label, interactive=False, buttons=[])


def _shown(picture: np.ndarray) -> np.ndarray:
    """A picture in three channels, large enough to look at."""
    return resized(picture, SIDE)


def _words(found: Answer) -> str:
    flag = (
        f"**Unlike the training pictures** (score {found.unfamiliarity:.2f}, above 1): do not trust the classes."
        if found.unfamiliarity > 1
        else f"Like the training pictures (score {found.unfamiliarity:.2f}, at most 1)."
    )
    return flag if found.activation is None else f"{flag}\n\nActivation of the class capsule: {found.activation:.3f}."
