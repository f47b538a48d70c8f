"""Values and gradients on the device against a CPU, in the same process.

The device computes in float32 at JAX's highest precision, and in bfloat16. The reference is float32 on the CPU of the
same inputs, rounded to bfloat16 for the second comparison, which has to agree less closely: within its tolerance, or
within twice the deviation of bfloat16 on the CPU. The reference takes the forms that are tuned to a CPU, and the device
the plain ones, also where the device is a CPU.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from benchmarks.accelerator.cases import BATCH, Case, cases
from benchmarks.accelerator.recorder import Recorder, read_rows
from benchmarks.accelerator.steps import Cell, step_config
from benchmarks.bare import random_dataset
from jaxcaps.config import Stage
from jaxcaps.data.loader import Batch
from jaxcaps.functional.cpu.dispatch import SWITCH
from jaxcaps.plan.config import Config
from jaxcaps.tasks import CLASSIFICATION_TASKS, PRETRAINING_TASKS
from jaxcaps.training.mesh import AXIS, replicated
from jaxcaps.training.setup import make_modules, make_task
from jaxcaps.training.state import Parameters
from jaxcaps.training.step import loss_and_gradients

# The largest norm of a difference, as a share of the norm of the reference: of values, and of gradients.
TOLERANCES = {"float32": (1e-4, 1e-3), "bfloat16": (2e-2, 0.1)}
# Of the gradient of a whole network, whose rectifiers and masks switch at a threshold.
NETWORK_TOLERANCES = {"float32": (1e-3, 1e-2), "bfloat16": (5e-2, 0.3)}
# On a GPU, programs that are compiled together wait for each other.
THREADS = 2


class Found(NamedTuple):
    value: Any
    gradient: Any


def measure(recorder: Recorder) -> None:
    jax.config.update("jax_default_matmul_precision", "highest")
    cpu, device = jax.devices("cpu")[0], jax.devices()[0]
    jobs: list[_Job] = [*map(_Function, cases()), *_networks()]
    if recorder.tiny:
        jobs = [*jobs[::10], *_networks()[:1]]
    with ThreadPoolExecutor(THREADS) as pool:
        os.environ[SWITCH] = "1"
        references = [pool.submit(job.reference, cpu) for job in jobs]
        if device.platform == "cpu":
            # The forms are chosen when a program is traced, for all threads.
            wait(references)
            os.environ[SWITCH] = "0"
        for job, reference in zip(jobs, references, strict=True):
            pool.submit(_compare, job, reference, cpu, device, recorder)
    rows = read_rows(recorder.file)[recorder.part]["agreement"]
    for kind, dtype in dict.fromkeys((row["kind"], row["dtype"]) for row in rows):
        alike = [row for row in rows if (row["kind"], row["dtype"]) == (kind, dtype) and "error" not in row]
        largest = {what: max((row[what] for row in alike), default=None) for what in ("value", "gradient")}
        recorder.row("largest deviations", kind=kind, dtype=dtype, compared=len(alike), **largest)


class _Job(Protocol):
    """Something to compute on both. The results are by dtype.

    Attributes:
        kind, name: what it is.
        tolerances: by dtype, of values and of gradients.
    """

    kind: str
    name: str
    tolerances: Mapping[str, tuple[float, float]]

    def reference(self, cpu: jax.Device) -> dict[str, Found]: ...

    def found(self, dtype: str, device: jax.Device) -> Found: ...


def _compare(
    job: _Job, reference: Future[dict[str, Found]], cpu: jax.Device, device: jax.Device, recorder: Recorder
) -> None:
    for dtype, (of_values, of_gradients) in job.tolerances.items():
        labels = {"kind": job.kind, "name": job.name, "dtype": dtype}
        with recorder.attempt("agreement", **labels):
            expected = reference.result()[dtype]
            value, gradient = _deviations(job.found(dtype, device), expected)
            agrees = value <= of_values and gradient <= of_gradients
            row: dict[str, Any] = {
                "value": value,
                "gradient": gradient,
                "tolerances": f"{of_values:g}, {of_gradients:g}",
            }
            if dtype == "bfloat16" and not agrees:
                # Some functions enlarge the rounding of their arguments: then the CPU itself shows by how much.
                row["cpu_value"], row["cpu_gradient"] = own = _deviations(job.found(dtype, cpu), expected)
                agrees = value <= 2 * own[0] and gradient <= 2 * own[1]
            recorder.row("agreement", **labels, **row, agrees=agrees)


def _deviations(found: Found, expected: Found) -> tuple[float, float]:
    return deviation(found.value, expected.value), deviation(found.gradient, expected.gradient)


class _Function:
    """A function of the library."""

    tolerances = TOLERANCES

    def __init__(self, case: Case):
        self.case, self.kind, self.name = case, case.kind, case.name

    def reference(self, cpu: jax.Device) -> dict[str, Found]:
        run = compiled(self.case)
        return {
            dtype: run(jax.device_put(_cast(_cast(self.case.arguments, dtype), "float32"), cpu)) for dtype in TOLERANCES
        }

    def found(self, dtype: str, device: jax.Device) -> Found:
        return compiled(self.case)(jax.device_put(_cast(self.case.arguments, dtype), device))


def compiled(case: Case) -> Callable[[Any], Found]:
    def objective(moving: list[Any], fixed: list[Any], tree: Any) -> tuple[Any, Any]:
        places = iter(moving), iter(fixed)
        leaves = [next(places[0] if moves else places[1]) for moves in _moving(case)]
        results = case.function(*jax.tree.unflatten(tree, leaves))
        numbers = [each.astype(jnp.float32) for each in jax.tree.leaves(results)]
        return sum(jnp.sum(jnp.sin(each)) for each in numbers), results

    def both(arguments: tuple[Any, ...]) -> Found:
        leaves, tree = jax.tree.flatten(arguments)
        moving = [leaf for leaf, moves in zip(leaves, _moving(case), strict=True) if moves]
        fixed = [leaf for leaf, moves in zip(leaves, _moving(case), strict=True) if not moves]
        if not moving:
            return Found(objective(moving, fixed, tree)[1], [])
        gradient, value = jax.grad(objective, has_aux=True)(moving, fixed, tree)
        return Found(value, gradient)

    return jax.jit(both)


def _moving(case: Case) -> list[bool]:
    leaves = jax.tree.leaves(case.arguments)
    return [case.differentiable and np.issubdtype(np.asarray(leaf).dtype, np.floating) for leaf in leaves]


def _cast(arguments: Any, dtype: str) -> Any:
    """The arguments with floating-point arrays in this dtype."""

    def cast(leaf: Any) -> Any:
        array = np.asarray(leaf)
        return array.astype(jnp.dtype(dtype)) if jnp.issubdtype(array.dtype, jnp.floating) else array

    return jax.tree.map(cast, arguments)


def deviation(found: Any, expected: Any) -> float:
    """The largest norm of a difference between two arrays, relative to that of the second; NaN counts as infinite."""
    largest = 0.0
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(mine).astype(np.float64), np.asarray(theirs).astype(np.float64)
        difference, norm = np.linalg.norm(a - b), np.linalg.norm(b)
        share = difference / norm if norm else (0.0 if difference == 0 else np.inf)
        largest = max(largest, float(share) if np.isfinite(share) else np.inf)
    return largest


def _networks() -> list["_Network"]:
    small = [_Network("tiny", "ssl", task) for task in PRETRAINING_TASKS]
    small += [_Network("tiny", "finetune", architecture) for architecture in CLASSIFICATION_TASKS]
    return [*small, _Network("small64", "ssl", "inpaint")]


class _Network:
    """The loss of a task's network and its gradient, as one vector. The reference computes in float32."""

    kind = "network"
    tolerances = NETWORK_TOLERANCES

    def __init__(self, size: str, stage: Stage, name: str):
        self.name = f"{size} {stage} {name}"
        config = step_config(Cell(size, stage, "float32", BATCH))
        model = replace(config.model, architecture=name if stage == "finetune" else config.model.architecture)
        self.config = replace(config, model=model, task=name if stage == "ssl" else config.task)
        self.parameters: Parameters = {}

    def reference(self, cpu: jax.Device) -> dict[str, Found]:
        with jax.default_device(cpu):
            task = make_task(self.config, random_dataset(self.config, 2 * BATCH))
            self.parameters = jax.device_get(make_modules(self.config, task)[1]())
            return dict.fromkeys(NETWORK_TOLERANCES, _gradients(self.config, self.parameters, cpu))

    def found(self, dtype: str, device: jax.Device) -> Found:
        model: Any = replace(self.config.model, dtype=dtype)
        return _gradients(replace(self.config, model=model), self.parameters, device)


def _gradients(config: Config, parameters: Parameters, device: jax.Device) -> Found:
    """The loss, and the gradient by all parameters."""
    dataset = random_dataset(config, 16)
    task = make_task(config, dataset)
    modules, _ = make_modules(config, task)
    mesh = jax.make_mesh((1,), (AXIS,), devices=[device], axis_types=(AxisType.Auto,))
    split = dataset.splits["train"]
    assert split.images is not None
    indices = np.arange(BATCH, dtype=np.int32)
    batch = Batch(split.images[:BATCH], split.labels[:BATCH], split.groups[:BATCH], indices, np.ones(BATCH, bool))
    given = jax.device_put((parameters, batch, np.int32(0), np.int32(0), np.float32(0.5)), replicated(mesh))
    metrics, gradients = jax.jit(loss_and_gradients(task, modules, mesh))(*given)
    vector = np.concatenate([np.asarray(each, np.float64).ravel() for _, each in sorted(gradients.items())])
    return Found(metrics["loss"], vector)
