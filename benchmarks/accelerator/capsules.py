"""Capsule layers against plain JAX and, where PyTorch is there, PyTorch eager and compiled: the cases of
`benchmarks.capsules` in float32.

All may use TF32 for products. Contenders take turns. Temporary memory is what a pass allocates beyond its arguments and
their gradients.
"""

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import jax

from benchmarks.accelerator.recorder import Recorder
from benchmarks.capsules import Case, Contender, dense, em, jax_contender, medians, torch_contender

# Passes that are queued at a time: one alone would measure the launch of its kernels.
COUNT = 20


def _cases(tiny: bool) -> Iterator[Case]:
    if tiny:
        yield dense(4, 64, 5)
        return
    yield dense(64, 18432, 3)
    yield dense(128)
    yield em()
    yield dense(32)


def measure(recorder: Recorder) -> None:
    # A pool of its compilers would take longer to start than its few kernels to compile.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    if importlib.util.find_spec("torch") is None:
        recorder.row("missing", what="PyTorch")
    for case in _cases(recorder.tiny):
        if recorder.left() < 5:
            recorder.row("not measured", case=case.title)
            continue
        _compare(case, recorder)


def _compare(case: Case, recorder: Recorder) -> None:
    contenders: dict[str, Contender] = {}
    megabytes: dict[str, float | None] = {}
    for name, form in case.jax_forms.items():
        with recorder.attempt(case.title, form=name):
            contenders[name], megabytes[name] = jax_contender(form, case.arrays)
    if importlib.util.find_spec("torch") is not None:
        for name, form in case.torch_forms.items():
            with recorder.attempt(case.title, form=name):
                contenders[name], megabytes[name] = _torch(form, case, recorder)
        if recorder.left() > 20:
            import torch

            name, form = next(iter(case.torch_forms.items()))
            with recorder.attempt(case.title, form=f"{name}, compiled"):
                compiled = torch.compile(form, dynamic=False)
                contenders[f"{name}, compiled"], megabytes[f"{name}, compiled"] = _torch(compiled, case, recorder)
    milliseconds = medians(contenders, 1 if recorder.tiny else COUNT)
    ours = milliseconds.get("jaxcaps")
    for name, each in milliseconds.items():
        times = None if ours is None else each / ours
        recorder.row(case.title, form=name, ms=each, times_ours=times, temporary_mb=megabytes[name])


def _torch(form: Any, case: Case, recorder: Recorder) -> tuple[Contender, float | None]:
    """Passes on the device that JAX uses, if PyTorch has it, and their memory in megabytes."""
    import torch

    # JAX's default.
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    passes = torch_contender(form, case.arrays, device)
    passes(1)
    if device == "cpu":
        return passes, None
    # With the gradients of the first pass, which the next one frees and makes again.
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    passes(1)
    return passes, (torch.cuda.max_memory_allocated() - before) / 1e6
