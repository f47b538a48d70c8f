"""One training step of `paper224` in bfloat16: the shares of routing and augmentation, and its longest operations."""

import gzip
import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.accelerator.recorder import Recorder
from benchmarks.accelerator.steps import Cell, step_config
from benchmarks.accelerator.timing import seconds_per_call, step_rate
from benchmarks.bare import Bare, random_dataset
from jaxcaps.models import primary_capsules
from jaxcaps.training.state import with_parameters

STEPS = 3
LONGEST = 10
# Kinds of kernels by what their names contain; the first that fits.
KINDS = {
    "convolution or product": ("conv", "fprop", "dgrad", "wgrad", "gemm", "nvjet", "cutlass", "xmma", "cudnn", "dot"),
    "copy or change of layout": ("transpose", "copy", "memcpy", "nchw", "nhwc", "memset"),
    "reduction": ("reduce",),
    "gather, scatter or sort": ("gather", "scatter", "sort"),
}


def measure(recorder: Recorder) -> None:
    cell = Cell("tiny", "ssl", "bfloat16", 16) if recorder.tiny else Cell("paper224", "ssl", "bfloat16", 64)
    config = step_config(cell)
    bare = Bare(config, random_dataset(config, cell.batch))
    operations, compiled = bare.compile()
    bare.seconds(1)
    step = min(bare.seconds(STEPS) for _ in range(3))
    share = operations / step / step_rate(cell.dtype, tiny=recorder.tiny)
    recorder.row("step", **cell._asdict(), ms=1e3 * step, share_of_matrix_rate=share)
    text = compiled.as_text() or ""
    folder = recorder.file.parent
    (folder / "step.hlo.txt.gz").write_bytes(gzip.compress(text.encode()))
    with recorder.attempt("longest operations"):
        _operations(bare, instructions(text), recorder)
    for name, piece in _pieces(bare, cell):
        with recorder.attempt("pieces", piece=name):
            seconds = seconds_per_call(piece)
            recorder.row("pieces", piece=name, ms=1e3 * seconds, share_of_step=seconds / step)


def _pieces(bare: Bare, cell: Cell) -> Any:
    """Parts of the step, each compiled alone."""
    parameters, images = bare.state.parameters, bare.batch.image
    keys = jax.random.split(jax.random.key(0), cell.batch)
    views = jax.jit(jax.vmap(bare.task.views))
    yield "augmentation and masks", lambda: views(keys, images)
    model = bare.task.model
    shape = (2 * cell.batch, primary_capsules(model, bare.task.image_size), model.primary_dim)
    poses = 0.3 * jax.random.normal(jax.random.key(1), shape, jnp.dtype(cell.dtype))

    def routed(parameters: Any, poses: Any) -> Any:
        found = with_parameters(bare.modules, parameters).latent_capsules(poses)
        return sum(jnp.sum(each.astype(jnp.float32)) for each in found[:2])

    routing = jax.jit(jax.grad(routed, argnums=(0, 1)))
    yield "votes and routing, forward and backward", lambda: routing(parameters, poses)


def _operations(bare: Bare, known: dict[str, tuple[str, str]], recorder: Recorder) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            seconds = bare.seconds(STEPS)
        (file,) = Path(folder).rglob("*.xplane.pb")
        (recorder.file.parent / "step.xplane.pb.gz").write_bytes(gzip.compress(file.read_bytes()))
        events = list(device_events(jax.profiler.ProfileData.from_file(str(file))))
    durations: dict[str, list[float]] = defaultdict(list)
    for name, duration in events:
        durations[name].append(duration)
    total = sum(duration for _, duration in events)
    by_kind: dict[str, float] = defaultdict(float)
    for name, duration in events:
        by_kind[kind_of(f"{name} {known.get(name, ('', ''))[1]}")] += duration
    recorder.row("busy", profiled_ms=1e3 * seconds, busy_ms=total / STEPS / 1e6, kernels=len(events) / STEPS)
    for kind, duration in sorted(by_kind.items(), key=lambda pair: -pair[1]):
        recorder.row("kinds of operations", kind=kind, ms=duration / STEPS / 1e6, share=duration / total)
    longest = sorted(durations.items(), key=lambda pair: -sum(pair[1]))[:LONGEST]
    for name, each in longest:
        shape, source = known.get(name, ("", ""))
        recorder.row(
            "longest operations",
            operation=name[:100],
            ms=sum(each) / STEPS / 1e6,
            share=sum(each) / total,
            times=len(each) / STEPS,
            result=shape[:100],
            source=source[-100:],
        )


def device_events(profile: Any) -> Any:
    """Name and nanoseconds of each operation of a device, or of the CPU where there is no other device."""
    planes = [plane for plane in profile.planes if plane.name.startswith("/device:GPU")]
    for plane in planes or profile.planes:
        # Other lines of a GPU sum up the events of its streams.
        streams = [line for line in plane.lines if line.name.startswith("Stream")] if planes else []
        for line in streams or plane.lines:
            for event in line.events:
                found = dict(event.stats)
                if planes or "hlo_op" in found:
                    yield str(found.get("hlo_op", event.name)), event.duration_ns


def instructions(text: str) -> dict[str, tuple[str, str]]:
    """Shape and origin of each instruction of a compiled program that says where it comes from.

    XLA names kernels after instructions, with underscores.
    """
    pattern = r'^\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) .*?op_name="([^"]*)"'
    found = {}
    for name, shape, source in re.findall(pattern, text, re.MULTILINE):
        for each in (name, re.sub(r"[.\-]", "_", name)):
            found[each] = (shape, source)
    return found


def kind_of(name: str) -> str:
    """The kind of an operation, by its name and the origin of its instruction."""
    lower = name.lower()
    return next(
        (kind for kind, parts in KINDS.items() if any(part in lower for part in parts)), "elementwise and other"
    )
