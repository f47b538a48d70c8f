"""A run from its configuration to its last number, top to bottom."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxcaps.config import Config, architecture_hash, nearest, to_dict
from jaxcaps.data.dataset import Dataset, load_dataset
from jaxcaps.data.loader import Loader
from jaxcaps.data.sampling import Plan, balanced, shuffled
from jaxcaps.errors import UserError
from jaxcaps.evaluation.metrics import SCALAR_METRICS
from jaxcaps.models import Encoder
from jaxcaps.models.capsnet import count_parameters
from jaxcaps.tasks import Classify, Inpaint, Task
from jaxcaps.training.checkpoint import Checkpoints, read_parameters
from jaxcaps.training.evaluators import Classification, Evaluator, HeldOutLoss, Probe
from jaxcaps.training.finish import finish_classifier, finish_pretraining
from jaxcaps.training.folder import RunLog, check_folder, default_folder, finished_metrics
from jaxcaps.training.mesh import connect, device_mesh, replicated
from jaxcaps.training.optimizer import Length, make_optimizer, run_length
from jaxcaps.training.progress import ProgressBar, duration
from jaxcaps.training.state import Parameters, TrainState, parameters_of
from jaxcaps.training.step import Metrics, initial_state, make_train_step
from jaxcaps.training.transfer import transfer
from jaxcaps.training.writers import MetricsWriter, Row

log = logging.getLogger("jaxcaps")

# At most this many micro-steps between two rows of metrics, however long an epoch is.
ROW_STEPS = 100
LINEAR_PROBE = "linear_probe/balanced_accuracy"


@dataclass
class Selection:
    """Which evaluation was the best so far, by one metric; higher is better."""

    metric: str | None
    value: float = -math.inf
    step: int = 0
    since: int = 0
    parameters: Parameters | None = None

    def consider(self, row: Row, step: int, parameters: Parameters) -> None:
        """Keeps a copy of the parameters if this evaluation beats the best."""
        if self.metric is None:
            return
        value = row[f"validation/{self.metric}"]
        if value > self.value:
            # The state is donated to the next step: what is kept must be a copy.
            copies = jax.tree.map(jnp.copy, parameters)
            self.value, self.step, self.since, self.parameters = value, step, 0, copies
        else:
            self.since += 1

    def meta(self) -> dict[str, Any]:
        value = self.value if math.isfinite(self.value) else None
        return {"metric": self.metric, "value": value, "step": self.step, "since": self.since}


def train(config: Config) -> Path:
    """Runs (or resumes, or finds finished) the run that `config` describes and returns its folder.

    Raises:
        UserError: a mistake in a flag, a file or a folder; nothing has been overwritten then.
    """
    connect(config.machine)
    folder = default_folder(config)
    check_folder(folder, config)
    if finished_metrics(folder) is not None:
        log.info("%s holds this very run, finished:", folder)
        log.info((folder / "table.txt").read_text(encoding="utf-8"))
        return folder
    with RunLog() as run_log:
        mesh = device_mesh(config.training.batch_size)
        # The test split stays closed: `jaxcaps.evaluate` alone opens it.
        dataset = load_data(config, ("train", "validation"))
        task = make_task(config, dataset.classes)
        length = run_length(config, len(dataset.splits["train"]))
        modules, draw = make_modules(config, task)
        start = starting_parameters(config, draw())
        plan = sampling_plan(config, dataset)
        run = Run(config, folder, mesh, dataset, task, length, modules, plan)
        # All that can be refused has been: only now is anything written.
        run_log.claim(folder, config)
        run.go(start)
    return folder


def load_data(config: Config, splits: tuple[str, ...]) -> Dataset:
    """The named splits of the configured data; what was done to get them goes to the log."""
    data = config.data
    dataset = load_dataset(
        data=data.data,
        image_size=data.image_size,
        labels_required=config.stage == "finetune",
        split_seed=data.split_seed,
        synthetic_count=data.synthetic_count,
        synthetic_seed=data.synthetic_seed,
        max_bad_images=data.max_bad_images,
        cache_bytes=data.cache_mb * 2**20,
        splits=splits,
    )
    for note in dataset.notes:
        log.info(note)
    return dataset


def make_task(config: Config, classes: tuple[str, ...]) -> Task:
    size = config.data.image_size
    if config.stage == "ssl":
        if not (config.inpaint.contrast_weight or config.inpaint.inpaint_weight):
            raise UserError("--contrast-weight=0 and --inpaint-weight=0 leave nothing to learn; give one a weight")
        return Inpaint(config.model, config.inpaint, config.augmentation, size)
    return Classify(config.model, config.classify, config.augmentation, size, len(classes))


def make_modules(config: Config, task: Task) -> tuple[nnx.Module, Callable[[], Parameters]]:
    """The network's structure, without arrays, and a function that draws its parameters from the seed."""

    def build() -> nnx.Module:
        rngs = nnx.Rngs(config.seed)
        return task.init(rngs, Encoder(config.model, config.data.image_size, rngs))

    # It runs once: compiling it without optimisation takes a fifth of the time.
    draw = jax.jit(lambda: parameters_of(build()), compiler_options={"xla_backend_optimization_level": 0})
    return nnx.eval_shape(build), draw


def starting_parameters(config: Config, parameters: Parameters) -> Parameters:
    """As initialised, or with the encoder of `--restore`."""
    if config.restore is None:
        return parameters
    restored, _ = read_parameters(Path(config.restore))
    merged = transfer(restored, parameters, latent=config.classify.transfer_latent, origin=Path(config.restore))
    log.info("From %s (+ taken, - left as initialised, . not used):", config.restore)
    for line in merged.account:
        log.info("  %s", line)
    return merged.parameters


def sampling_plan(config: Config, dataset: Dataset) -> Plan:
    training, split = config.training, dataset.splits["train"]
    sampling = training.sampling
    if sampling == "auto":
        sampling = "shuffled" if config.stage == "ssl" else "balanced"
    if sampling == "balanced":
        note = " (uses the labels)" if config.stage == "ssl" else ""
        log.info("Sampling: class-balanced, with replacement%s", note)
        return balanced(split.labels, training.batch_size, config.seed)
    log.info("Sampling: shuffled, without replacement")
    return shuffled(len(split), training.batch_size, config.seed)


class Run:
    """The moving parts of one run, put together once."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        mesh: Mesh,
        dataset: Dataset,
        task: Task,
        length: Length,
        modules: nnx.Module,
        plan: Plan,
    ):
        self.config, self.folder, self.mesh, self.dataset = config, folder, mesh, dataset
        self.task, self.length, self.modules, self.plan = task, length, modules, plan
        self.main = jax.process_index() == 0
        labels = dataset.splits["train"].labels
        self.train_counts = np.bincount(labels[labels >= 0], minlength=len(dataset.classes)).tolist()
        with jax.numpy_dtype_promotion("standard"):
            self.optimizer = make_optimizer(config, length)
        self.step: Callable[..., tuple[TrainState, Metrics]] = make_train_step(
            task, modules, self.optimizer, mesh, seed=config.seed, micro_steps=length.micro_steps
        )
        self.evaluators = self._evaluators()
        self.selection = Selection(self._selecting_metric())

    def _evaluators(self) -> list[Evaluator]:
        train, validation = self.dataset.splits["train"], self.dataset.splits["validation"]
        batch = self.config.training.batch_size
        if self.config.stage == "finetune":
            return [Classification(self.modules, validation, self.dataset.classes, self.mesh, batch)]
        evaluators: list[Evaluator] = [HeldOutLoss(self.task, self.modules, validation, self.mesh, batch)]
        known = set(train.labels[train.labels >= 0].tolist())
        if len(known) > 1 and known & set(validation.labels.tolist()):
            evaluators.append(Probe(self.modules, train, validation, self.mesh, batch))
        return evaluators

    def _selecting_metric(self) -> str | None:
        training = self.config.training
        if self.config.stage == "finetune":
            # A calibration error is better when lower.
            known = tuple(name for name in SCALAR_METRICS if name != "ece")
            if training.best_metric not in known:
                raise UserError(f"--best-metric={training.best_metric}: unknown{nearest(training.best_metric, known)}")
            return training.best_metric
        if training.select_by_probe and not any(isinstance(each, Probe) for each in self.evaluators):
            raise UserError("--select-by-probe needs labels of at least two classes in training and validation")
        return LINEAR_PROBE if training.select_by_probe else None

    def go(self, parameters: Parameters) -> None:
        """Resume this run folder, else start from `parameters`; train; finish. Says which it did."""
        began = time.monotonic()
        parameters = jax.device_put(parameters, replicated(self.mesh))
        state = initial_state(parameters, self.optimizer, self.mesh)
        with Checkpoints(self.folder) as self.checkpoints:
            restored = self.checkpoints.restore(state)
            if restored is not None:
                state = restored.state
                self._check_data(restored.meta["fingerprint"])
                best = restored.meta["best"]
                self.selection = Selection(
                    best["metric"],
                    -math.inf if best["value"] is None else best["value"],
                    best["step"],
                    best["since"],
                    restored.best,
                )
            self._announce(int(state.step), resumed=restored is not None)
            self.writer = MetricsWriter(self.folder, resumed_step=int(state.step))
            state = self._loop(state, began)
        self._finish(state)
        log.info("Finished in %s; everything is in %s", duration(time.monotonic() - began), self.folder)

    def _check_data(self, fingerprint: str) -> None:
        if fingerprint != self.dataset.fingerprint:
            raise UserError(
                f"--out={self.folder}: the data of {self.config.data.data} has changed since this run began; "
                "give another --out to start afresh"
            )

    def _announce(self, step: int, *, resumed: bool) -> None:
        config, length = self.config, self.length
        origin = f"the encoder of {config.restore}" if config.restore else "random initialisation"
        log.info("Resuming %s at micro-step %d" if resumed else "Starting in %s from %s",
                 self.folder, step if resumed else origin)  # fmt: skip
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
        elif config.inpaint.contrast_weight:
            log.info(
                "NT-Xent: %d negatives per anchor at most; accumulation adds none", 2 * config.training.batch_size - 2
            )

    def _loop(self, state: TrainState, began: float) -> TrainState:
        config, length = self.config, self.length
        first = int(state.step)
        loader = Loader(self.dataset.splits["train"], self.plan, self.mesh, start=first, stop=length.micro_steps)
        row_every = min(ROW_STEPS, length.per_epoch)
        evaluate_every = config.training.evaluate_every * length.per_epoch
        pending: list[Metrics] = []
        timed = 0
        saved = row_began = time.monotonic()
        with ProgressBar(length.micro_steps, first, config.training.batch_size) as bar:
            for step, batch in enumerate(loader, start=first + 1):
                state, metrics = self.step(state, batch)
                pending.append(metrics)
                timed += 1
                # Waiting for the step before last keeps the devices busy and the queue short.
                waited = pending[-2] if len(pending) > 1 else metrics
                bar.advance(float(waited["loss"]))
                if step == first + 1:
                    log.info("First step done after %s", duration(time.monotonic() - began))
                    # Compilation is no part of the speed.
                    row_began, timed = time.monotonic(), 0
                last = step == length.micro_steps
                evaluate = last or _passes(step, evaluate_every)
                if not (evaluate or _passes(step, row_every)):
                    continue
                row = self._row(step, pending)
                if timed:
                    row["images_per_second"] = timed * config.training.batch_size / (time.monotonic() - row_began)
                self._check_finite(step, pending)
                pending = []
                if evaluate:
                    for evaluator in self.evaluators:
                        row |= {f"validation/{name}": value for name, value in evaluator(state.parameters)}
                    self.selection.consider(row, step, state.parameters)
                if self.main:
                    self.writer.write(row)
                    if evaluate:
                        self.writer.write_csv()
                self._report(row, began, first)
                stopping = evaluate and self._out_of_patience()
                if last or stopping or time.monotonic() - saved >= 60 * config.training.checkpoint_minutes:
                    self.checkpoints.save(state, self.selection.parameters, self._meta())
                    saved = time.monotonic()
                if stopping:
                    log.info(
                        "No better %s in %d evaluations: stopping early",
                        self.selection.metric,
                        config.training.patience,
                    )
                    break
                row_began, timed = time.monotonic(), 0
        return state

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
            log.warning("Gradients were not finite, and no update made, at micro-steps %s", skipped)
        if len(skipped) == len(pending):
            raise UserError(
                f"training has diverged: no gradient was finite at micro-steps {skipped[0]} to {skipped[-1]}. "
                f"Try a lower --lr (now {self.config.optimizer.lr:g}) in another --out"
            )

    def _out_of_patience(self) -> bool:
        patience = self.config.training.patience
        return self.config.stage == "finetune" and 0 < patience <= self.selection.since

    def _report(self, row: Row, began: float, first: int) -> None:
        step, total = int(row["step"]), self.length.micro_steps
        left = (time.monotonic() - began) / (step - first) * (total - step)
        shown = ("loss", "nt_xent", "inpainting", "classification", "accuracy")
        parts = [f"{name} {row[f'train/{name}']:.4f}" for name in shown if f"train/{name}" in row]
        parts += [
            f"{name} {row[name]:.4f}"
            for name in ("validation/balanced_accuracy", f"validation/{LINEAR_PROBE}", "validation/inpainting")
            if name in row
        ]
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

    def _finish(self, state: TrainState) -> None:
        chosen = state.parameters if self.selection.parameters is None else self.selection.parameters
        if self.config.stage == "finetune":
            train, validation = self.dataset.splits["train"], self.dataset.splits["validation"]
            predict = Classification(
                self.modules, validation, self.dataset.classes, self.mesh, self.config.training.batch_size
            ).predict
            probabilities = predict(chosen, validation)
            if self.main:
                finish_classifier(
                    self.folder, train.labels, validation, probabilities, self.dataset.classes, self.selection.meta()
                )
        elif self.main:
            assert isinstance(self.task, Inpaint)
            finish_pretraining(self.folder, self.task, self.modules, chosen, self.dataset)
        if self.dataset.bad_images:
            log.info("%d unreadable images were skipped:", len(self.dataset.bad_images))
            for name, reason in self.dataset.bad_images:
                log.info("  %s: %s", name, reason)


def _passes(step: int, every: float) -> bool:
    """Whether this step is the first at or after a multiple of `every` steps (a fraction is fine)."""
    return math.floor(step / every) > math.floor((step - 1) / every)
