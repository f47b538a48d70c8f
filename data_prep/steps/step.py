"""What a preparation step declares."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from data_prep.images.box import Box

if TYPE_CHECKING:
    from data_prep.pipeline.inspecting import Inspection
    from data_prep.pipeline.outcome import Outcome


class Phase(IntEnum):
    """When a step runs: before or after the reference histogram is fitted on the training frames.

    Steps before the fit run when frames are inspected and when pictures are written; steps after it only then.
    """

    BEFORE_FIT = 0
    AFTER_FIT = 1


class Findings(NamedTuple):
    """What is known of a frame: told by the source, or found by the steps before the fit.

    Attributes:
        box: the field of view, or the whole picture.
        border: how the field was found: "void" (by a mask), "picture", "nothing found" or "not looked for".
        view: bool [box.height, box.width], the scene: without dark corners and blackened overlays. None for all of it.
        overlay: bool [box.height, box.width], text and guide boxes. None if they were not looked for.
        overlay_share: the part of the whole picture that overlays cover.
        modality: "WL", "NBI" or another that the source names; "" if unknown.
        confidence: of the modality, 0 to 1.
        void: bool [height, width] of the whole picture, True on the border. None if there is no void mask.
    """

    box: Box
    border: str = "not looked for"
    view: np.ndarray | None = None
    overlay: np.ndarray | None = None
    overlay_share: float = 0.0
    modality: str = ""
    confidence: float = 0.0
    void: np.ndarray | None = None


@dataclass(frozen=True)
class Options:
    """The settings of a step. Each field becomes a flag; the first is the switch and has the name of the module.

    Bounds stand on the fields; the docstring below a field is its help.
    """


Settings = TypeVar("Settings", bound=Options)


@dataclass(frozen=True)
class Fit(Generic[Settings]):
    """What a step learns from the training frames: the sum of their histograms within the field of view."""

    learns_from: Callable[[Settings], str]
    """The modality of the training frames that are summed."""
    changes: Callable[[Settings], frozenset[str]]
    """The modalities of the frames that the step changes."""
    apply: Callable[[np.ndarray, Findings, np.ndarray], np.ndarray]
    """Takes a picture, its findings and the sum, int64 [3, 256]; returns the picture after the step."""


class Doubt(NamedTuple):
    """Which frames a person should look at because of a step, under which heading, with which remark."""

    title: str
    concerns: Callable[["Inspection"], bool]
    remark: Callable[["Inspection"], str] = lambda inspection: ""


@dataclass(frozen=True)
class Step(Generic[Settings]):
    """One step. Pictures are uint8 RGB [height, width, 3]; functions never change their arguments."""

    options: type[Settings]
    title: str
    """Its name in the report."""
    phase: Phase
    order: int
    """Its place within the phase."""
    line: Callable[[Settings, "Outcome"], str]
    """What the report says was done."""
    find: Callable[[np.ndarray, np.ndarray, Findings, Settings], Findings] | None = None
    """Before the fit only: adds to the findings. Takes the raw picture and the picture after the steps before."""
    apply: Callable[[np.ndarray, Findings, Settings], np.ndarray] | None = None
    """Takes the picture after the steps before; returns it after this step."""
    fit: Fit[Settings] | None = None
    """Stands in place of `apply` for the step that learns from the training frames."""
    changes_size: bool = False
    keeps_outside: bool = False
    """Pixels outside `Findings.view` keep their values and do not influence the others."""
    needs_void: bool = False
    """It reads the void mask."""
    private: Callable[[np.ndarray], np.ndarray] | None = None
    """Finds what the report must blur in pictures before this step: bool [height, width]."""
    doubt: Doubt | None = None

    @property
    def switch(self) -> str:
        """The field that turns the step on, which is also its name."""
        return fields(self.options)[0].name

    def on(self, options: Settings) -> bool:
        return bool(getattr(options, self.switch))

    def key(self, options: Settings) -> tuple[Any, ...]:
        """What its result depends on, for the cache: the values of its own fields."""
        return tuple(getattr(options, field.name) for field in fields(self.options))
