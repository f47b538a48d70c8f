"""What the command can be told: frozen dataclasses whose fields are its flags."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval

from data_prep.bounds import Seed
from data_prep.presets import PRESETS
from data_prep.steps import in_order

# The options of all steps, reversed: a dataclass takes the fields of its last base first.
_OPTIONS = [step.options for step in reversed(in_order())]


class Steps(*_OPTIONS):  # type: ignore[misc]
    """What is done to each picture, in this order. `--no-STEP` turns a step off."""


# A call, not a decorator: type checkers would take the class for a dataclass without fields.
dataclass(frozen=True)(Steps)


@dataclass(frozen=True)
class Preparation:
    """A whole preparation: from where, to where, how."""

    source: str
    """where the raw pictures are: KIND:PLACE, see above"""
    out: str
    """folder to write to; outside the source"""
    preset: str = "plain"
    """the settings that the flags of the steps start from, see above; default: endoscopy for piccolo, else plain"""
    exclude: tuple[str, ...] = ()
    """patterns of files to leave out, such as '*_mask*' or 'masks/*': of names, or of paths in the source"""
    root: str | None = None
    """with csv: the folder that the listed pictures must lie in; default: the folder of the table"""
    modality_csv: str | None = None
    """table with the columns source,modality: WL or NBI for the frames it names; an edited frames.csv works"""
    split_seed: Seed = 0
    """seed of the split into training, validation and test, if the source brings none"""
    split: Literal["train", "validation", "test"] | None = None
    """put all pictures into this split, whatever the source says, such as test for an outside cohort"""
    leaks: Literal["refuse", "keep", "drop"] | None = None
    """groups that lie in two splits: refuse the source, keep its split and report them, or drop their held-out frames;
    default: keep for piccolo (its split is official), else refuse"""
    unlabelled: Literal["keep", "skip"] | None = None
    """frames without a label: keep or skip them; default: skip for piccolo, else keep"""
    max_pixels: Annotated[int, Interval(ge=1, le=2**40)] = 50_000_000
    """larger pictures are skipped without decoding them: a small file can unpack to gigabytes"""
    workers: Annotated[int, Interval(ge=1, le=4096)] | None = None
    """number of processes; default: one for each core"""
    steps: Steps = field(default_factory=lambda: PRESETS["plain"])
