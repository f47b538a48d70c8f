"""Speed of the pixel steps, and CLAHE and histogram matching beside scikit-image's.

`python -m benchmarks.preparation [--data=DIR] [--figure=FILE]`, on one thread. DIR holds pictures in any folders (in
the project's own measurements the raw endoscopy frames); without it frames are drawn. Prints two Markdown tables. A
step's time is the best of `--repeats` passes over all frames; every step works on what the steps before it made. FILE
shows the steps on a drawn frame, side by side.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from skimage.exposure import equalize_adapthist, match_histograms

from data_prep.detection.field_of_view import field_mask, find_field_of_view
from data_prep.images.box import Box, crop
from data_prep.images.statistics import ChannelStatistics
from data_prep.steps.clahe import CLIP_LIMIT, TILES, equalise
from data_prep.steps.denoise import denoise
from data_prep.steps.guess_modality import guess_modality
from data_prep.steps.highlights import find_highlights, remove_highlights
from data_prep.steps.match import ReferenceHistogram, match_histogram
from data_prep.steps.overlays import find_overlays, mask_overlays
from data_prep.steps.resize import resize
from data_prep.synthetic import describe, draw

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
DRAWN_FRAMES, DRAWN_SIZE = 18, 512
SIZE = 224


def frames(folder: Path | None) -> list[np.ndarray]:
    if folder is None:
        return [draw(index, count=DRAWN_FRAMES, seed=0, size=DRAWN_SIZE).image for index in range(DRAWN_FRAMES)]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"--data={folder} holds no pictures")
    images = [cv2.imread(str(path)) for path in paths]
    return [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images if image is not None]


class Clock:
    """Runs functions over all frames and remembers how long the fastest pass took."""

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


def measure_steps(images: list[np.ndarray], clock: Clock) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The table of speeds. Returns the denoised frames and their fields of view, for the comparison."""
    wholes = [Box(0, 0, *image.shape[:2]) for image in images]
    found = clock.each("field of view", find_field_of_view, images)
    boxes = [box or whole for box, whole in zip(found, wholes, strict=True)]
    masks = clock.each("field mask", field_mask, images, boxes)
    overlays = clock.each("overlays, found", find_overlays, images)
    crops = [crop(image, box) for image, box in zip(images, boxes, strict=True)]
    overlays = [crop(mask, box) for mask, box in zip(overlays, boxes, strict=True)]
    current = clock.each("overlays, masked", mask_overlays, crops, overlays)
    clock.each("modality, guessed", guess_modality, current)
    highlights = clock.each("highlights, found", find_highlights, current)
    denoised = current = clock.each("blur", denoise, current)
    reference = ReferenceHistogram()
    clock.each("histogram, fitted", ReferenceHistogram().add, current, masks)
    for image, mask in zip(current, masks, strict=True):
        reference.add(image, mask)
    current = clock.each("histogram, matched", lambda a, m: match_histogram(a, reference, m), current, masks)
    current = clock.each("CLAHE", lambda a, m: equalise(a, mask=m), current, masks)
    current = clock.each("highlights, removed", remove_highlights, current, highlights)
    current = clock.each(f"resize to {SIZE}", lambda a: resize(a, SIZE, "pad"), current)
    clock.each("statistics", ChannelStatistics().add, current)
    return denoised, masks


def compare(name: str, ours: Callable, theirs: Callable, clock: Clock, *columns: list) -> str:
    a = clock.each(name, ours, *columns)
    b = clock.each(f"{name}, scikit-image", theirs, *columns)
    differences = [np.abs(x.astype(float) - y.astype(float)).mean() for x, y in zip(a, b, strict=True)]
    mine, other = clock.seconds[name], clock.seconds[f"{name}, scikit-image"]
    per = 1000 / len(a)
    return f"| {name} | {mine * per:.1f} | {other * per:.1f} | {other / mine:.1f} | {np.mean(differences):.2f} |"


def scikit_image_clahe(image: np.ndarray) -> np.ndarray:
    """Its CLAHE with the same tiles and limit on the same L of Lab, so that only the equalisation differs."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    tile = (-(-image.shape[0] // TILES), -(-image.shape[1] // TILES))
    equalised = equalize_adapthist(lab[..., 0], kernel_size=tile, clip_limit=CLIP_LIMIT / 256, nbins=256)
    lab[..., 0] = np.round(255 * equalised).astype(np.uint8)
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def draw_steps(path: Path) -> None:
    """The steps on a built-in picture, set into a screen with a border, text and a guide picture."""
    table = describe(60, 0)
    reference = ReferenceHistogram()
    for index, row in enumerate(table):
        if row.modality == "narrow-band":
            image = draw(index, count=60, seed=0, size=128).image
            reference.add(image, field_mask(image, Box(0, 0, 128, 128)))
    white = [index for index, row in enumerate(table) if row.modality == "white-light"]
    scene = draw(white[0], count=60, seed=0, size=400).image
    screen = np.zeros((440, 560, 3), np.uint8)
    octagon = np.array([[80, 0], [319, 0], [399, 80], [399, 319], [319, 399], [80, 399], [0, 319], [0, 80]])
    shape = cv2.fillPoly(np.zeros((400, 400), np.uint8), [octagon], 1) > 0
    screen[20:420, 140:540][shape] = scene[shape]
    screen[330:430, 10:200] = (24, 165, 140)
    for line, text in enumerate(("NAME JANE DOE", "23/11/2026", "10:34:52", "ID 4711")):
        cv2.putText(screen, text, (20, 130 + 30 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (240, 240, 240), 1, cv2.LINE_AA)
    box = find_field_of_view(screen)
    assert box is not None
    mask = field_mask(screen, box)
    pictures = [resize(screen, 240, "pad")]
    current = crop(screen, box)
    pictures.append(current)
    without_overlays = mask_overlays(current, crop(find_overlays(screen), box))
    for step in (
        lambda image: without_overlays,
        denoise,
        lambda image: match_histogram(image, reference, mask),
        lambda image: equalise(image, mask=mask),
        lambda image: remove_highlights(image, find_highlights(without_overlays)),
    ):
        current = step(current)
        pictures.append(current)
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
    denoised, _ = measure_steps(images, clock)

    heights, widths = (sorted(image.shape[axis] for image in images) for axis in (0, 1))
    print(f"{len(images)} frames of {heights[0]}-{heights[-1]} x {widths[0]}-{widths[-1]} pixels, one thread\n")
    print("| step | ms a frame | frames a second |\n|---|---|---|")
    for name, seconds in clock.seconds.items():
        print(f"| {name} | {1000 * seconds / len(images):.1f} | {len(images) / seconds:.0f} |")
    total = sum(clock.seconds.values())
    print(f"| all | {1000 * total / len(images):.1f} | {len(images) / total:.1f} |\n")

    print("| | ours, ms | scikit-image, ms | times faster | mean difference, of 255 |\n|---|---|---|---|---|")
    others = denoised[1:] + denoised[:1]
    references = []
    for image in others:
        references.append(ReferenceHistogram())
        references[-1].add(image)
    pairs = list(zip(others, references, strict=True))
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
