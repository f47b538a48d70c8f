"""The training loop: a run from its configuration to its final metrics."""

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxcaps.config import to_dict
from jaxcaps.data.dataset import Dataset
from jaxcaps.data.loader import Loader
from jaxcaps.data.sampling import SamplingOrder
from jaxcaps.errors import UserError
from jaxcaps.models.capsnet import count_parameters
from jaxcaps.plan.config import Config, architecture_hash, start_of, yaml_text
from jaxcaps.plan.flags import checked
from jaxcaps.plan.length import Length, run_length
from jaxcaps.restoring import find_origin
from jaxcaps.restoring.run_folder import is_finished
from jaxcaps.tasks import Task
from jaxcaps.training.calibration import calibrate, reference_part, write_calibration
from jaxcaps.training.callbacks import Callback, Finished
from jaxcaps.training.checkpoint import Checkpoints
from jaxcaps.training.evaluators import Classification, Evaluator, HeldOutLoss, Probe
from jaxcaps.training.finish import draw_curves, finish_classifier, finish_pretraining
from jaxcaps.training.folder import (
    Learnt,
    RunLog,
    check_folder,
    check_not_learnt,
    contents_of,
    default_folder,
    write_learnt,
    write_preparation,
)
from jaxcaps.training.loggers import LoggedRun, LoggerKind, Loggers, find_loggers
from jaxcaps.training.mesh import connect, device_mesh, replicated
from jaxcaps.training.optimizer import make_optimizer
from jaxcaps.training.progress import Pace, ProgressBar, duration
from jaxcaps.training.selection import Selection
from jaxcaps.training.setup import (
    load_data,
    make_modules,
    make_task,
    sampling_order,
    starting_parameters,
)
from jaxcaps.training.state import Parameters, TrainState, with_parameters
from jaxcaps.training.step import Metrics, initial_state, make_train_step
from jaxcaps.training.summary import summary
from jaxcaps.training.writers import LINEAR_PROBE, MetricsWriter, Row, read_rows

log = logging.getLogger("jaxcaps")

# Curves are drawn at the first evaluation after this many seconds.
CURVES_SECONDS = 60
# The maximum number of micro-steps between two rows of metrics.
ROW_STEPS = 100
# A run fails after this many consecutive micro-steps with gradients that are not finite.
MAX_CONSECUTIVE_SKIPS = 10
# Figures that loggers are given; they draw curves themselves.
PICTURES = ("reconstructions", "confusion")


@dataclass(frozen=True)
class Result:
    """A finished run. `jaxcaps.load(result.folder)` loads its network.

    Attributes:
        folder: its folder.
    """

    folder: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """The contents of `metrics.json`: for a classifier, the metrics on the validation split and their intervals."""
        metrics: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        return metrics

    @property
    def rows(self) -> list[Row]:
        """The rows of metrics of the training, oldest first."""
        return read_rows(self.folder / "metrics.jsonl")


def train(config: Config, callbacks: Sequence[Callback] = ()) -> Result:
    """Starts, resumes or reports (if finished) the run that `config` describes.

    Its messages go to the logger `jaxcaps`; `jaxcaps.commands.log_to_console()` prints them.

    Args:
        config: the configuration of the run, such as of `jaxcaps.configure`.
        callbacks: called while the run trains, and at its end; see `Callback`.

    Returns:
        The run, with its metrics.

    Raises:
        UserError: a flag, a file or a folder is wrong. Nothing has been overwritten in that case.
    """
    config = checked(config)
    if config.model.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    connect(config.machine)
    folder = default_folder(config)
    check_folder(folder, config)
    if is_finished(folder):
        log.info("%s holds a finished run of this configuration. If its data or the run it was restored from", folder)
        log.info("has changed since, remove the folder or give another --out. Its results:")
        log.info((folder / "table.txt").read_text(encoding="utf-8"))
        log.info(summary(folder, config))
        return Result(folder)
    loggers = find_loggers(config.machine.loggers())
    with RunLog() as run_log:
        mesh = device_mesh(config.training.batch_size)
        # Training never opens the test split; only `jaxcaps.evaluate` does.
        dataset = load_data(config, ("train", "validation"))
        task = make_task(config, dataset)
        length = run_length(config, len(dataset.splits["train"]))
        modules, draw = make_modules(config, task)
        start = starting_parameters(config, draw())
        earlier: Learnt = find_origin(config.restore).learnt_from if config.restore else frozenset()
        check_not_learnt(earlier, dataset.splits["validation"], "validation", config.restore or "")
        order = sampling_order(config, dataset)
        run = Run(config, folder, mesh, dataset, task, length, modules, order, callbacks)
        # All hosts have passed every check, so files can be written now.
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("checked")
        if run.main:
            run_log.claim(folder, config)
            write_preparation(folder, dataset.prepared)
            write_learnt(folder, earlier | contents_of(dataset.splits["train"]))
        finished = run.go(start, loggers)
        for callback in run.callbacks:
            callback.on_end(finished)
        if run.main:
            log.info(summary(folder, config))
    return Result(folder)


class Run:
    """The components of one run."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        mesh: Mesh,
        dataset: Dataset,
        task: Task,
        length: Length,
        modules: nnx.Module,
        order: SamplingOrder,
        callbacks: Sequence[Callback],
    ):
        self.config, self.folder, self.mesh, self.dataset = config, folder, mesh, dataset
        self.task, self.length, self.modules, self.order = task, length, modules, order
        self.main = jax.process_index() == 0
        self.callbacks = callbacks if self.main else ()
        labels = dataset.splits["train"].labels
        self.train_counts = np.bincount(labels[labels >= 0], minlength=len(dataset.classes)).tolist()
        with jax.numpy_dtype_promotion("standard"):
            self.optimizer = make_optimizer(config, length)
        self.step: Callable[..., tuple[TrainState, Metrics]] = make_train_step(
            task, modules, self.optimizer, mesh, micro_steps=length.micro_steps
        )
        self.evaluators = self._evaluators()
        self.selection = Selection(self._selecting_metric())
        self.saved = self.drawn = time.monotonic()
        self.skipped = 0
        self.made: dict[str, np.ndarray] | None = None

    def _evaluators(self) -> list[Evaluator]:
        train, validation = self.dataset.splits["train"], self.dataset.splits["validation"]
        batch, size = self.config.training.batch_size, self.config.data.image_size
        if self.config.stage == "finetune":
            return [Classification(self.modules, validation, self.dataset.classes, self.mesh, batch, size)]
        evaluators: list[Evaluator] = [HeldOutLoss(self.task, self.modules, validation, self.mesh, batch)]
        known = set(train.labels[train.labels >= 0].tolist())
        if len(known) > 1 and known & set(validation.labels.tolist()):
            evaluators.append(Probe(self.modules, train, validation, self.mesh, batch, size))
        return evaluators

    def _selecting_metric(self) -> str | None:
        training = self.config.training
        if self.config.stage == "finetune":
            return None if training.best_metric == "none" else training.best_metric
        if training.select_by_probe and not any(isinstance(each, Probe) for each in self.evaluators):
            raise UserError(
                "--select-by-probe needs labels of at least two classes in training and validation; drop it, or label "
                "more images"
            )
        return LINEAR_PROBE if training.select_by_probe else None

    def go(self, parameters: Parameters, loggers: dict[str, LoggerKind]) -> Finished:
        """Resumes this run folder or starts from `parameters`, trains, and writes the results. Its metrics also go to
        `loggers`."""
        began = time.monotonic()
        parameters = jax.device_put(parameters, replicated(self.mesh))
        state = initial_state(parameters, self.optimizer, self.mesh, seed=self.config.seed)
        with ExitStack() as stack:
            with Checkpoints(self.folder) as self.checkpoints:
                restored = self.checkpoints.restore(state)
                if restored is not None:
                    state = restored.state
                    self._check_data(restored.meta["fingerprint"])
                    self.selection = Selection.from_meta(restored.meta["best"], restored.best)
                self._announce(state, resumed=restored is not None)
                self.writer = MetricsWriter(self.folder, resumed_step=int(state.step)) if self.main else None
                self.loggers = stack.enter_context(self._open_loggers(loggers, int(state.step)))
                # A run that was interrupted after it stopped early needs no more training.
                if not self._out_of_patience():
                    state = self._loop(state, began)
            kept = self._finish(state)
        log.info("Finished in %s; the results are in %s", duration(time.monotonic() - began), self.folder)
        validation, classes = self.dataset.splits["validation"], self.dataset.classes
        return Finished(self.folder, self.task, self.modules, kept, validation, classes, self.train_counts, self.made)

    def _open_loggers(self, kinds: dict[str, LoggerKind], step: int) -> Loggers:
        config = self.config
        kinds = kinds if self.main else {}
        rows = self.writer.rows if self.writer is not None else []
        return Loggers(kinds, LoggedRun(self.folder, to_dict(config), yaml_text(config), rows, step))

    def _check_data(self, fingerprint: str) -> None:
        if fingerprint != self.dataset.fingerprint:
            raise UserError(
                f"--out={self.folder}: the data of {self.config.data.data} has changed since this run began; "
                "give another --out to start afresh"
            )

    def _announce(self, state: TrainState, *, resumed: bool) -> None:
        config, length = self.config, self.length
        log.info("Resuming %s at micro-step %d" if resumed else "Starting in %s from %s",
                 self.folder, int(state.step) if resumed else start_of(config))  # fmt: skip
        log.info(
            "%s parameters; %d micro-steps of %d images, %d per update, %d updates; %d device(s), %s",
            f"{count_parameters(self.modules):,}",
            length.micro_steps,
            config.training.batch_size,
            config.training.effective_batch,
            length.updates,
            self.mesh.size,
            jax.default_backend(),
        )
        if config.stage == "finetune":
            log.info("Architecture %s", architecture_hash(config, len(self.dataset.classes)))
        for note in self.task.notes(config.training.batch_size):
            log.info(note)
        idle = set(config.optimizer.multipliers()) - set(map(self.task.group_of, state.parameters))
        if idle:
            log.warning("--lr-mult has no effect on %s: this network has no such layers", " and ".join(sorted(idle)))

    def _loop(self, state: TrainState, began: float) -> TrainState:
        config, length, first = self.config, self.length, int(state.step)
        loader = Loader(self.dataset.splits["train"], self.order, self.mesh, start=first, stop=length.micro_steps)
        row_every = min(ROW_STEPS, length.per_epoch)
        evaluate_every = config.training.evaluate_every * length.per_epoch
        pending: list[Metrics] = []
        pace = Pace(config.training.batch_size)
        log.info("Compiling the training step, for some seconds to a minute ...")
        with ProgressBar(length.micro_steps, first, config.training.batch_size) as bar:
            for step, batch in enumerate(loader, start=first + 1):
                state, metrics = self.step(state, batch)
                pending.append(metrics)
                # Waiting for the step before the last one keeps the devices busy and the queue short.
                bar.advance(float(pending[-2 if len(pending) > 1 else -1]["loss"]))
                pace.step()
                if step == first + 1:
                    log.info("First step done after %.1f s", time.monotonic() - began)
                last = step == length.micro_steps
                evaluate = last or _is_due(step, evaluate_every)
                if not (evaluate or _is_due(step, row_every)):
                    continue
                row = self._row(step, pending) | pace.row()
                self._check_finite(step, pending)
                pending = []
                if evaluate:
                    began = time.monotonic()
                    self._evaluate(row, step, state.parameters)
                    pace.evaluated(time.monotonic() - began)
                row["seconds"] = pace.lap()
                self._write(row, evaluate)
                left = _evaluations(length.micro_steps, evaluate_every) - _evaluations(step, evaluate_every)
                self._report(row, pace.seconds_left(length.micro_steps - step, left))
                stopping = evaluate and self._out_of_patience()
                self._save(state, last or stopping)
                self._call(row, state.parameters if evaluate else None)
                if stopping:
                    log.info(
                        "No better %s in %d evaluations: stopping early", self.selection.metric, self.selection.since
                    )
                    break
                pace.restart()
        return state

    def _evaluate(self, row: Row, step: int, parameters: Parameters) -> None:
        try:
            for evaluator in self.evaluators:
                row |= {f"validation/{name}": value for name, value in evaluator(parameters)}
        except FloatingPointError as error:
            raise self._diverged(f"{error} at micro-step {step}") from None
        self.selection.consider(row, step, parameters)

    def _call(self, row: Row, evaluated: Parameters | None) -> None:
        for callback in self.callbacks:
            callback.on_row(row)
            if evaluated is not None:
                callback.on_evaluation(row, with_parameters(self.modules, evaluated))

    def _write(self, row: Row, evaluated: bool) -> None:
        if self.writer is not None:
            self.writer.write(row)
            self.loggers.row(row)
            if evaluated:
                self.writer.write_csv()
            if evaluated and time.monotonic() - self.drawn >= CURVES_SECONDS:
                draw_curves(self.folder)
                self.drawn = time.monotonic()

    def _save(self, state: TrainState, must: bool) -> None:
        """Saves a checkpoint if required or due. All hosts must save together, so the first host's clock decides."""
        due = time.monotonic() - self.saved >= 60 * self.config.training.checkpoint_minutes
        if jax.process_count() > 1:
            due = bool(multihost_utils.broadcast_one_to_all(np.asarray(due)))
        if must or due:
            self.checkpoints.save(state, self.selection.parameters, self._meta())
            self.saved = time.monotonic()

    def _row(self, step: int, pending: list[Metrics]) -> Row:
        values = jax.device_get(pending)
        row: Row = {"step": step, "epoch": step / self.length.per_epoch}
        for name in values[0]:
            row[f"train/{name}"] = float(np.mean([each[name] for each in values]))
        return row

    def _check_finite(self, step: int, pending: list[Metrics]) -> None:
        first = step - len(pending) + 1
        skipped = [first + i for i, metrics in enumerate(jax.device_get(pending)) if metrics["skipped"]]
        if skipped:
            log.warning("Skipped the updates at micro-steps %s: gradients were not finite", skipped)
        whole = len(skipped) == len(pending)
        self.skipped = self.skipped + len(skipped) if whole else 0
        if self.skipped >= MAX_CONSECUTIVE_SKIPS:
            raise self._diverged(f"gradients were not finite for {self.skipped} micro-steps up to {step}")

    def _diverged(self, what: str) -> UserError:
        lr = self.config.optimizer.lr
        return UserError(f"training diverged: {what}. Try a lower --lr (now {lr:g}) with another --out")

    def _out_of_patience(self) -> bool:
        patience = self.config.training.patience
        return self.config.stage == "finetune" and 0 < patience <= self.selection.since

    def _report(self, row: Row, left: float) -> None:
        step, total = int(row["step"]), self.length.micro_steps
        shown = ("train/loss", *self.task.reported, f"validation/{LINEAR_PROBE}")
        parts = [f"{name.removeprefix('train/')} {row[name]:.4f}" for name in shown if name in row]
        if "images_per_second" in row:
            parts.append(f"{row['images_per_second']:.0f} images/s")
        log.info("epoch %.1f  step %d/%d  %s  %s left", row["epoch"], step, total, "  ".join(parts), duration(left))

    def _meta(self) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "classes": list(self.dataset.classes),
            "train_counts": self.train_counts,
            "fingerprint": self.dataset.fingerprint,
            "best": self.selection.meta(),
        }

    def _finish(self, state: TrainState) -> Parameters:
        """Writes the results and returns the parameters that they are of."""
        selected = self.selection.parameters
        chosen, step = (state.parameters, int(state.step)) if selected is None else (selected, self.selection.step)
        if self.config.stage == "finetune":
            train, validation = self.dataset.splits["train"], self.dataset.splits["validation"]
            (classification,) = self.evaluators
            assert isinstance(classification, Classification)
            predicted = classification.predict(chosen, validation)
            seen = classification.predict(chosen, reference_part(train))
            if self.main:
                write_calibration(self.folder, calibrate(validation, predicted, train, seen.features))
                finish_classifier(
                    self.folder,
                    train.labels,
                    validation,
                    predicted.probabilities,
                    self.dataset.classes,
                    self.selection.meta(),
                )
        elif self.main:
            self.made = finish_pretraining(
                self.folder, self.config, self.task, self.modules, chosen, self.dataset, step
            )
        for name in PICTURES:
            if self.main and (picture := self.folder / "figures" / f"{name}.png").is_file():
                self.loggers.picture(name, step, picture)
        if self.dataset.bad_images:
            log.info("Skipped %d unreadable images:", len(self.dataset.bad_images))
            for name, reason in self.dataset.bad_images:
                log.info("  %s: %s", name, reason)
        return chosen


def _evaluations(steps: int, every: float) -> int:
    """The number of evaluations in this many steps, without one that is only due because training ends."""
    return math.floor(steps / every)


def _is_due(step: int, every: float) -> bool:
    """Whether this step is the first at or after a multiple of `every` steps (a fraction is fine)."""
    return _evaluations(step, every) > _evaluations(step - 1, every)
