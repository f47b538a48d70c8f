"""Training from the loader against the bare step: pictures on the device, streamed, and streamed with decoding.

The loop waits for the step before the last, as that of a run does.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.accelerator.recorder import Recorder
from benchmarks.accelerator.steps import Cell, step_config
from benchmarks.bare import Bare, RandomPictures, dataset_of
from jaxcaps.data.loader import Loader
from jaxcaps.data.sources import open_source
from jaxcaps.training.setup import sampling_order

WARM = 4


def measure(recorder: Recorder) -> None:
    cells = [Cell("tiny", "ssl", "bfloat16", 16)]
    if not recorder.tiny:
        cells = [Cell("paper224", "ssl", "bfloat16", 64), Cell("demo", "ssl", "bfloat16", 1024)]
        cells += [Cell("demo", "ssl", "bfloat16", 64)]
    for cell in cells:
        if recorder.left() < 8:
            recorder.row("not measured", cell="/".join(map(str, cell)))
            continue
        with recorder.attempt("loader", **cell._asdict()), tempfile.TemporaryDirectory() as folder:
            _measure(cell, Path(folder), recorder)


def _measure(cell: Cell, folder: Path, recorder: Recorder) -> None:
    config = step_config(cell)
    side = config.data.image_size * config.data.oversampling
    images = smooth_pictures(max(cell.batch, 128), side)
    for index, image in enumerate(images):
        (folder / "ab"[index % 2]).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "ab"[index % 2] / f"{index:05d}.png"), image)
    files: Any = open_source(f"folder:{folder}", synthetic_count=1, synthetic_seed=0, image_size=side)
    resident = dataset_of(RandomPictures(images), images)
    bare = Bare(config, resident)
    bare.compile()
    bare.seconds(WARM)
    # About a second, unless a step takes longer.
    steps = int(np.clip(1 / bare.seconds(1), 4, 100))
    alone = bare.seconds(steps)
    recorder.row("loader", **cell._asdict(), pictures="one batch", ms=1e3 * alone)
    for name, dataset in (
        ("on the device", resident),
        ("streamed, decoded before", dataset_of(RandomPictures(images), images, resident=False)),
        ("streamed, PNG files", dataset_of(files, images, resident=False)),
    ):
        with recorder.attempt("loader", **cell._asdict(), pictures=name):
            order = sampling_order(config, dataset)
            loader = Loader(dataset.splits["train"], order, bare.mesh, start=0, stop=WARM + steps)
            seconds = _loop(bare, loader, steps)
            row = {"ms": 1e3 * seconds, "images_per_second": cell.batch / seconds, "overhead": 1 - alone / seconds}
            recorder.row("loader", **cell._asdict(), pictures=name, **row)


def _loop(bare: Bare, loader: Loader, steps: int) -> float:
    """Seconds per step, after the first ones."""
    earlier: Any = None
    began = 0.0
    for number, batch in enumerate(loader):
        if number == WARM:
            float(earlier["loss"])
            began = time.perf_counter()
        bare.state, metrics = bare.step(bare.state, batch)
        if earlier is not None:
            float(earlier["loss"])
        earlier = metrics
    float(earlier["loss"])
    return (time.perf_counter() - began) / steps


def smooth_pictures(count: int, side: int) -> np.ndarray:
    """Random pictures that compress as photographs do: uint8 [count, side, side, 3]."""
    small = np.random.default_rng(0).integers(
        0, 256, (min(count, 64), max(2, side // 8), max(2, side // 8), 3), np.uint8
    )
    large = np.stack([cv2.resize(each, (side, side), interpolation=cv2.INTER_CUBIC) for each in small])
    return large[np.arange(count) % len(large)]
