"""Speed of the preparation steps, and comparison of CLAHE and histogram matching with scikit-image.

Run `python -m benchmarks.preparation [--data=DIR] [--figure=FILE]`, which uses one thread. DIR contains pictures in any
folders; the project measures the raw endoscopy frames. Without DIR, frames are drawn. The benchmark prints two Markdown
tables. The time of a step is the best of `--repeats` passes over all frames. Each step works on the result of the steps
before it. FILE shows the steps on a drawn frame, side by side.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from skimage.exposure import equalize_adapthist, match_histograms

from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.images.box import Box
from data_prep.images.histogram import histogram, moments
from data_prep.pipeline.sequence import look, stages, steps_on
from data_prep.presets import PRESETS
from data_prep.steps.clahe import Clahe, equalise
from data_prep.steps.match import match_histogram
from data_prep.steps.resize import resize
from data_prep.steps.step import Findings
from data_prep.synthetic import describe, draw

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
DRAWN_FRAMES, DRAWN_SIZE = 18, 512
STEPS = PRESETS["endoscopy"]


def frames(folder: Path | None) -> list[np.ndarray]:
    if folder is None:
        return [draw(index, count=DRAWN_FRAMES, seed=0, size=DRAWN_SIZE).image for index in range(DRAWN_FRAMES)]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"--data={folder} has no pictures; give a folder of images")
    images = [cv2.imread(str(path)) for path in paths]
    return [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images if image is not None]


class Clock:
    """Runs functions over all frames and measures the fastest pass."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.seconds: dict[str, float] = {}

    def each(self, name: str, function: Callable, *columns: list) -> list:
        best = float("inf")
        for _ in range(self.repeats):
            start = time.perf_counter()
            results = [function(*row) for row in zip(*columns, strict=True)]
            best = min(best, time.perf_counter() - start)
        self.seconds[name] = best
        return results


def measure_steps(images: list[np.ndarray], clock: Clock) -> list[np.ndarray]:
    """Times each step of the preset. Returns the frames before the fit, for the comparison."""
    current, before_fit = images, images
    findings = [Findings(Box(0, 0, *image.shape[:2])) for image in images]
    settings = [STEPS] * len(images)
    for step in steps_on(STEPS):
        if step.find is not None:
            findings = clock.each(f"{step.title}, found", step.find, images, current, findings, settings)
        if step.fit is not None:
            before_fit, views = current, [found.view for found in findings]
            reference = np.sum(clock.each("reference histogram", histogram, current, views), axis=0)
            current = clock.each(step.title, step.fit.apply, current, findings, [reference] * len(images))
        if step.apply is not None:
            current = clock.each(step.title, step.apply, current, findings, settings)
    clock.each("statistics", moments, current)
    return before_fit


def compare(name: str, ours: Callable, theirs: Callable, clock: Clock, *columns: list) -> str:
    a = clock.each(name, ours, *columns)
    b = clock.each(f"{name}, scikit-image", theirs, *columns)
    differences = [np.abs(x.astype(float) - y.astype(float)).mean() for x, y in zip(a, b, strict=True)]
    mine, other = clock.seconds[name], clock.seconds[f"{name}, scikit-image"]
    per = 1000 / len(a)
    return f"| {name} | {mine * per:.1f} | {other * per:.1f} | {other / mine:.1f} | {np.mean(differences):.2f} |"


def scikit_image_clahe(image: np.ndarray) -> np.ndarray:
    """CLAHE of scikit-image with the same tiles, limit and L channel of Lab, so that only the equalisation differs."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    tile = (-(-image.shape[0] // Clahe.tiles), -(-image.shape[1] // Clahe.tiles))
    equalised = equalize_adapthist(lab[..., 0], kernel_size=tile, clip_limit=Clahe.clip_limit / 256, nbins=256)
    lab[..., 0] = np.round(255 * equalised).astype(np.uint8)
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def draw_steps(path: Path) -> None:
    """Draws the steps on a built-in picture, placed on a screen with a border, text and a guide picture."""
    table = describe(60, 0)
    reference = np.zeros((3, 256), np.int64)
    for index, row in enumerate(table):
        if row.modality == "narrow-band":
            image = draw(index, count=60, seed=0, size=128).image
            reference += histogram(image, field_of_view_mask(image))
    white = [index for index, row in enumerate(table) if row.modality == "white-light"]
    scene = draw(white[0], count=60, seed=0, size=400).image
    screen = np.zeros((440, 560, 3), np.uint8)
    octagon = np.array([[80, 0], [319, 0], [399, 80], [399, 319], [319, 399], [80, 399], [0, 319], [0, 80]])
    shape = cv2.fillPoly(np.zeros((400, 400), np.uint8), [octagon], 1) > 0
    screen[20:420, 140:540][shape] = scene[shape]
    screen[330:430, 10:200] = (24, 165, 140)
    for line, text in enumerate(("NAME JANE DOE", "23/11/2026", "10:34:52", "ID 4711")):
        cv2.putText(screen, text, (20, 130 + 30 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (240, 240, 240), 1, cv2.LINE_AA)
    steps = replace(STEPS, resize=False)
    findings, _ = look(screen, Findings(Box(0, 0, *screen.shape[:2])), steps)
    pictures = [picture for _, picture in stages(screen, findings, steps, reference)]
    margins = ((4, 4), (4, 4), (0, 0))
    row = np.hstack([np.pad(resize(picture, 240, "pad"), margins, constant_values=255) for picture in pictures])
    cv2.imwrite(str(path), cv2.cvtColor(row, cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    if arguments.figure is not None:
        draw_steps(arguments.figure)
    images = frames(arguments.data)
    clock = Clock(arguments.repeats)
    denoised = measure_steps(images, clock)

    heights, widths = (sorted(image.shape[axis] for image in images) for axis in (0, 1))
    print(f"{len(images)} frames of {heights[0]}-{heights[-1]} x {widths[0]}-{widths[-1]} pixels, one thread\n")
    print("| step | ms per frame | frames per second |\n|---|---|---|")
    for name, seconds in clock.seconds.items():
        print(f"| {name} | {1000 * seconds / len(images):.1f} | {len(images) / seconds:.0f} |")
    total = sum(clock.seconds.values())
    print(f"| all | {1000 * total / len(images):.1f} | {len(images) / total:.1f} |\n")

    print("| | ours, ms | scikit-image, ms | times faster | mean difference, of 255 |\n|---|---|---|---|---|")
    others = denoised[1:] + denoised[:1]
    pairs = [(image, histogram(image)) for image in others]
    print(
        compare(
            "histogram matching, to the next frame",
            lambda image, pair: match_histogram(image, pair[1]),
            lambda image, pair: match_histograms(image, pair[0], channel_axis=2),
            clock,
            denoised,
            pairs,
        )
    )
    print(compare("CLAHE, whole picture", equalise, scikit_image_clahe, clock, denoised))


if __name__ == "__main__":
    main()
