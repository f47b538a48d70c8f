"""Whole training steps on one resident batch: pictures per second, share of the matrix rate, memory, compilation.

One program is compiled at a time: on a GPU, XLA measures kernels while it compiles, and programs compiled together wait
for each other for ever.
"""

import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax

from benchmarks.accelerator.recorder import Recorder
from benchmarks.accelerator.timing import step_rate
from benchmarks.bare import Bare, random_dataset
from jaxcaps.config import Stage
from jaxcaps.plan.config import Config
from jaxcaps.plan.presets import preset

# Batches of each preset: one that fills a GPU, the largest worth trying, and that of the preset or about it.
BATCHES = {"paper224": (64, 256, 16), "small64": (512, 2048, 64), "demo": (1024, 4096, 64)}
# In order of importance: a dtype, and which batch of each preset.
ROUNDS = (("bfloat16", 0), ("float32", 0), ("bfloat16", 1), ("bfloat16", 2), ("float32", 1))
# A batch that is expected to need more of the device's memory than this is not tried.
MEMORY_SHARE = 0.95
# Seconds that a cell needs at the least.
RESERVE = 20.0


class Cell(NamedTuple):
    """One step to measure."""

    preset: str
    stage: Stage
    dtype: str
    batch: int


def step_config(cell: Cell) -> Config:
    """The preset at the dtype and batch of the cell, with an update in every step."""
    config = preset(cell.preset, cell.stage)
    training = replace(config.training, batch_size=cell.batch, effective_batch=cell.batch)
    model: Any = replace(config.model, dtype=cell.dtype)
    return replace(config, model=model, training=training)


def cells(tiny: bool) -> Iterator[Cell]:
    """In order of importance; within a round those that compile the soonest first."""
    batches = {"tiny": (16, 32, 8)} if tiny else BATCHES
    stages: tuple[Stage, ...] = ("finetune", "ssl")
    for dtype, place in ROUNDS:
        round_ = [Cell(name, stage, dtype, sizes[place]) for name, sizes in batches.items() for stage in stages]
        yield from sorted(round_, key=lambda cell: step_config(cell).data.image_size)


def measure(recorder: Recorder) -> None:
    rates = {dtype: step_rate(dtype, tiny=recorder.tiny) for dtype in ("bfloat16", "float32")}
    for dtype, rate in rates.items():
        recorder.row("matrix rates", dtype=dtype, tflops=rate / 1e12)
    memory: dict[Cell, int] = {}
    for cell in cells(recorder.tiny):
        if recorder.left() < RESERVE:
            recorder.row("steps", **cell._asdict(), error="not begun: out of time")
        elif _fits(cell, memory, recorder) and (built := _built(cell, recorder)) is not None:
            _time(cell, built, rates[cell.dtype], memory, recorder)
            del built
            gc.collect()


class Built(NamedTuple):
    """A step that has been compiled."""

    bare: Bare
    operations: float
    memory: int
    compile_seconds: float


def _built(cell: Cell, recorder: Recorder) -> Built | None:
    with recorder.attempt("steps", **cell._asdict()):
        config = step_config(cell)
        began = time.monotonic()
        bare = Bare(config, random_dataset(config, cell.batch))
        operations, compiled = bare.compile()
        used: Any = compiled.memory_analysis()
        needed = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
        return Built(bare, operations, needed - used.alias_size_in_bytes, time.monotonic() - began)
    return None


def _time(cell: Cell, built: Built, rate: float, memory: dict[Cell, int], recorder: Recorder) -> None:
    memory[cell] = built.memory
    with recorder.attempt("steps", **cell._asdict(), memory_gb=built.memory / 1e9):
        before = peak_bytes()
        built.bare.seconds(1)
        once = built.bare.seconds(1)
        steps = max(1, min(50, round(0.3 / once)))
        seconds = sorted(built.bare.seconds(steps) for _ in range(3))[1]
        peak = peak_bytes()
        recorder.row(
            "steps",
            **cell._asdict(),
            ms=1e3 * seconds,
            images_per_second=cell.batch / seconds,
            tflop=built.operations / 1e12,
            share_of_matrix_rate=built.operations / seconds / rate,
            memory_gb=built.memory / 1e9,
            # The peak is that of the process: it says something of this cell where this cell has raised it.
            device_peak_gb=None if peak is None or peak == before else peak / 1e9,
            build_and_compile_s=built.compile_seconds,
        )


def _fits(cell: Cell, memory: dict[Cell, int], recorder: Recorder) -> bool:
    """Whether the memory of a smaller batch, in proportion, is below that of the device."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    known = [(each, size) for each, size in memory.items() if each._replace(batch=cell.batch) == cell]
    if limit is None or not known:
        return True
    nearest, size = max(known, key=lambda pair: pair[0].batch)
    expected = size * cell.batch / nearest.batch
    if expected > MEMORY_SHARE * limit:
        recorder.row("steps", **cell._asdict(), error=f"not tried: expects {expected / 1e9:.0f} GB")
        return False
    return True


def peak_bytes() -> int | None:
    """The most bytes that this process has had on the device at once; None where the backend does not count."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
