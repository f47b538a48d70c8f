"""What the command can be told: frozen dataclasses, whose fields are its flags, and the presets."""

from dataclasses import dataclass, field
from typing import Literal

from data_prep.errors import UserError
from data_prep.steps.clahe import CLIP_LIMIT, TILES
from data_prep.steps.denoise import SIGMA

Preset = Literal["endoscopy", "plain"]


@dataclass(frozen=True)
class Steps:
    """What is done to each picture, in this order. The defaults are those of endoscopy."""

    borders: bool = True
    """cut the black border off, by the void mask where there is one, else as found in the picture"""
    overlays: bool = True
    """find burnt-in text and guide boxes, and mask them"""
    denoise: bool = True
    """blur noise away"""
    denoise_sigma: float = SIGMA
    """standard deviation of that blur in pixels"""
    guess_modality: bool = True
    """tell white light (WL) from narrow band (NBI) by colour, where neither the source nor --modality-csv says it"""
    match: bool = True
    """match the colour histograms of one modality to those of the other's training frames"""
    match_to: Literal["NBI", "WL"] = "NBI"
    """the modality that frames of the other one are matched to"""
    clahe: bool = True
    """equalise contrast locally (CLAHE on the lightness of Lab)"""
    clip_limit: float = CLIP_LIMIT
    """how far CLAHE may raise contrast"""
    tiles: int = TILES
    """CLAHE's tiles along each side"""
    highlights: bool = True
    """paint specular highlights over from around them"""
    resize: bool = True
    """bring pictures to one size"""
    size: int = 224
    """side in pixels of the square that pictures are resized to; of fit=shorter, their shorter side"""
    fit: Literal["pad", "crop", "shorter"] = "pad"
    """pad: the whole picture between black bars; crop: the central square; shorter: the whole picture, no square"""


PRESETS: dict[str, Steps] = {
    "endoscopy": Steps(),
    "plain": Steps(
        borders=False,
        overlays=False,
        denoise=False,
        guess_modality=False,
        match=False,
        clahe=False,
        highlights=False,
    ),
}


@dataclass(frozen=True)
class Preparation:
    """All of a preparation: from where, to where, how."""

    source: str
    """piccolo:DIR | folder:DIR | csv:FILE"""
    out: str
    """folder of what is written; outside the source"""
    preset: Preset = "endoscopy"
    """endoscopy: all steps; plain (ultrasound, blood cells, ...): only checks, metadata stripped, resize"""
    root: str | None = None
    """of csv: the folder that the listed images must lie in; the table's own where not given"""
    modality_csv: str | None = None
    """table with the columns source,modality: WL or NBI of the frames it names; a corrected frames.csv is one"""
    split_seed: int = 0
    """seed of the training/validation/test split, where the source brings none"""
    leaks: Literal["refuse", "keep", "drop"] | None = None
    """groups that lie in two splits: refuse the source, keep its split and report them, or drop their held-out frames;
    where not given, keep for piccolo (its split is official), else refuse"""
    unlabelled: Literal["keep", "skip"] | None = None
    """frames without a label: keep or skip; where not given, skip for piccolo, else keep"""
    max_pixels: int = 50_000_000
    """pictures with more pixels than this are skipped unopened: a small file can unpack to gigabytes"""
    workers: int | None = None
    """processes; one for each core where not given"""
    steps: Steps = field(default_factory=Steps)


def check(config: Preparation) -> Preparation:
    """
    Raises:
        UserError: a value that no type can check.
    """
    steps = config.steps
    for flag, value, low, high in (
        ("--denoise-sigma", steps.denoise_sigma, 0.01, 100),
        ("--clip-limit", steps.clip_limit, 0.01, 1000),
        ("--tiles", steps.tiles, 1, 256),
        ("--size", steps.size, 8, 8192),
        ("--split-seed", config.split_seed, 0, 2**31 - 1),
        ("--max-pixels", config.max_pixels, 1, 2**40),
        ("--workers", 1 if config.workers is None else config.workers, 1, 4096),
    ):
        if not low <= value <= high:
            raise UserError(f"{flag}={value}: should lie between {low} and {high}")
    return config
