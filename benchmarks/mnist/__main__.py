"""Capsule networks on MNIST: `python -m benchmarks.mnist accuracy`, `robustness` or `agreement`.

`accuracy` trains Efficient-CapsNet with three seeds and Sabour's CapsNet once. `robustness` trains every routing, and a
convolutional network of equal size, with three seeds on digits shifted within a 40x40 square, and tests them on digits
under random affine maps. `agreement` does the same with several scales of the agreement in dynamic routing, and scores
the held-out digits: the test digits are not read.

All hold out 5,000 training digits to choose learning rates and epochs. Each training is a cell, which writes its
parameters and results to the folder `--out`. Finished cells are not trained again, so an interrupted run can be
resumed. When all cells are finished, the test digits are read once, and the tables are printed and written to
`benchmarks/results/`.

`--data` is a folder with the four idx files, optionally gzipped.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from benchmarks.mnist.digits import (
    Digits,
    affine,
    hold_out,
    jittered,
    on_canvas,
    read_digits,
    shifted_by_pixels,
)
from benchmarks.mnist.networks import (
    CLASSES,
    IN_CAPSULES,
    PlainNetwork,
    RoutedNetwork,
    efficient,
    efficient_loss,
    plain_loss,
    routed_loss,
    sabour,
    sabour_loss,
)
from benchmarks.mnist.training import BATCH, SCORED, Loss, Move, Trained, error, scaled, scorer, train
from jaxcaps.functional import EM, ROUTINGS, AnyRouting, Dynamic, Uniform, coupling_entropy
from jaxcaps.models.capsnet import count_parameters

RESULTS = Path(__file__).parent.parent / "results"
FIGURE = Path(__file__).parents[2] / "docs/explanation/figures/agreement-scale.png"
SEEDS = (0, 1, 2)
# Seed of the random moves of pictures, which are drawn once for all networks.
HELD_OUT_SEED, CLEAN_SEED, AFFINE_SEED = 100, 101, 102


class Recipe(NamedTuple):
    """Attributes: make, a network from a seed; epochs; the rest as `train`."""

    make: Callable[[int], nnx.Module]
    loss: Loss
    move: Move
    epochs: float
    evaluations: int
    learning_rate: float


def by_two_pixels(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return shifted_by_pixels(images, generator, 2)


# For Efficient-CapsNet, 0.002 and 0.006 gave similar results in the first 200 steps. For Sabour, as in the paper.
ACCURACY = {
    "efficient": Recipe(efficient, efficient_loss, jittered, 5, 5, 4e-3),
    "sabour": Recipe(sabour, sabour_loss, by_two_pixels, 3, 3, 1e-3),
}
ROUTED: dict[str, AnyRouting] = {name: ROUTINGS[name]() for name in ROUTINGS}
# 288 in capsules and 10 out capsules: "capsules" is a scale of 28.8.
SCALED: dict[str, AnyRouting] = {
    "uniform": Uniform(),
    "scale-1": Dynamic(),
    "scale-3": Dynamic(agreement_scale=3.0),
    "scale-10": Dynamic(agreement_scale=10.0),
    "scale-capsules": Dynamic(agreement_scale="capsules"),
    "learned-from-1": Dynamic(learn_agreement_scale=True),
    "learned-from-capsules": Dynamic(agreement_scale="capsules", learn_agreement_scale=True),
    "em": EM(),
}
# Of the curve before training.
SCALES = tuple(float(scale) for scale in np.geomspace(0.3, 300, 16))
# Both are tried for each contender with a quarter of the steps.
LEARNING_RATES = (2e-3, 6e-3)
ROBUSTNESS_STEPS = 1200
TRIAL_STEPS = 300


class Cells:
    """Trainings, each done once and stored as `NAME.json` and `NAME.npz` in a folder."""

    def __init__(self, folder: Path, training: Digits, held_out: Digits):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.training, self.held_out = folder, training, held_out

    def train(self, name: str, network: nnx.Module, loss: Loss, move: Move, **settings: Any) -> dict[str, Any]:
        """Returns the results of a cell, and trains it first if there are none."""
        file = self.folder / f"{name}.json"
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text())
            return found
        print(f"{name}: {settings}", flush=True)
        trained: Trained = train(
            network,
            loss,
            self.training,
            self.held_out,
            move,
            note=lambda line: print(f"{name}: {line}", flush=True),
            **settings,
        )
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(trained.parameters)]
        np.savez(file.with_suffix(".npz"), *leaves)
        reached = {
            **settings,
            "held_out_errors": trained.held_out_errors,
            "best": trained.best,
            "seconds": trained.seconds,
            "parameters": count_parameters(network),
        }
        # Written last and atomically: this file marks a finished cell.
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(reached))
        unfinished.replace(file)
        return reached

    def parameters(self, name: str, network: nnx.Module) -> Any:
        """The kept parameters of a finished cell."""
        structure = jax.tree.structure(nnx.state(network))
        with np.load(self.folder / f"{name}.npz") as file:
            return jax.tree.unflatten(structure, [file[key] for key in file.files])

    def errors(self, name: str, network: nnx.Module, sets: Iterable[Digits]) -> list[float]:
        """The error of the cell's kept parameters, in %."""
        parameters, predict = self.parameters(name, network), scorer(network)
        return [error(predict(parameters, digits.images), digits.labels) for digits in sets]


def spread(values: list[float]) -> str:
    listed = ", ".join(f"{value:.2f}" for value in values)
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} ({listed})" if len(values) > 1 else listed


def accuracy(data: Path, folder: Path) -> dict[str, Any]:
    training, held_out = hold_out(read_digits(data, "train"))
    cells = Cells(folder, training, held_out)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, recipe in ACCURACY.items():
        steps = int(recipe.epochs * len(training.labels) / BATCH)
        found[name] = [
            cells.train(
                f"{name}-{seed}",
                recipe.make(seed),
                recipe.loss,
                recipe.move,
                steps=steps,
                evaluations=recipe.evaluations,
                learning_rate=recipe.learning_rate,
                seed=seed,
            )
            for seed in (SEEDS if name == "efficient" else SEEDS[:1])
        ]
    test = read_digits(data, "t10k")
    print("\n| network | parameters | epochs | best | minutes | held-out error % | test error % |")
    print("|---" * 7 + "|")
    for name, reached in found.items():
        make = ACCURACY[name].make
        for each in reached:
            (each["test_error"],) = cells.errors(f"{name}-{each['seed']}", make(0), [test])
        minutes = ", ".join(f"{each['seconds'] / 60:.1f}" for each in reached)
        best = ", ".join(str(each["best"] + 1) for each in reached)
        print(
            f"| {name} | {reached[0]['parameters']:,} | {ACCURACY[name].epochs} | {best} | {minutes} "
            f"| {spread([each['held_out_errors'][each['best']] for each in reached])} "
            f"| {spread([each['test_error'] for each in reached])} |"
        )
    return found


def robustness(data: Path, folder: Path) -> dict[str, Any]:
    training, held_out = hold_out(read_digits(data, "train"))
    cells = Cells(folder, training, shifted(held_out, HELD_OUT_SEED))
    networks: dict[str, AnyRouting | None] = {"cnn": None, **ROUTED}
    found = trained(cells, networks)
    test = read_digits(data, "t10k")
    score(cells, networks, found, test)
    return found


def agreement(data: Path, folder: Path) -> dict[str, Any]:
    training, held_out = hold_out(read_digits(data, "train"))
    cells = Cells(folder, training, shifted(held_out, HELD_OUT_SEED))
    found = trained(cells, SCALED)
    score(cells, SCALED, found, held_out)
    print("\n| network | entropy at the start | trained | scale trained |")
    print("|---" * 4 + "|")
    pictures = cells.held_out.images[:SCORED]
    for name, reached in found.items():
        for each in reached:
            network = make(SCALED[name], each["seed"])
            each["entropy_at_start"] = entropy(network, pictures)
            nnx.update(network, cells.parameters(f"robust-{name}-{each['seed']}", network))
            each["entropy"] = entropy(network, pictures)
            each["scale"] = scale_of(network)
        scales = [each["scale"] for each in reached if each["scale"] is not None]
        print(
            f"| {name} | {spread([each['entropy_at_start'] for each in reached])} "
            f"| {spread([each['entropy'] for each in reached])} | {spread(scales) if scales else ''} |"
        )
    at_start = {scale: entropy(RoutedNetwork(Dynamic(agreement_scale=scale), 0), pictures) for scale in SCALES}
    draw_agreement(at_start, found).savefig(FIGURE, dpi=90)
    return found


def scale_of(network: Any) -> float | None:
    """The agreement scale of the class capsules, learned or fixed; None for other routings."""
    layer = network.class_capsules
    if not isinstance(layer.routing, Dynamic):
        return None
    learned = getattr(layer, "log_agreement_scale", None)
    return layer.routing.fixed_scale((IN_CAPSULES, CLASSES)) if learned is None else float(np.exp(learned[...]))


def draw_agreement(at_start: Mapping[float, float], found: Mapping[str, list[dict[str, Any]]]) -> Figure:
    """The entropy of the couplings against the agreement scale, before and after training."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.semilogx(at_start.keys(), at_start.values(), color="0.5", label="before training")
    for title, marker, learned in (("trained, fixed scale", "o", False), ("trained, learned scale", "^", True)):
        cells = [each for name, reached in found.items() if ("learned" in name) == learned for each in reached]
        points = [(each["scale"], each["entropy"]) for each in cells if each["scale"] is not None]
        axis.plot(*zip(*points, strict=True), marker, linestyle="", alpha=0.7, label=title)
    axis.set_xlabel("agreement scale")
    axis.set_ylabel("entropy of the couplings")
    axis.set_ylim(0, 1.03)
    axis.legend()
    return figure


def shifted(digits: Digits, seed: int) -> Digits:
    return digits._replace(images=on_canvas(digits.images, np.random.default_rng(seed)))


def make(routing: AnyRouting | None, seed: int) -> nnx.Module:
    """The network of a routing; without one, the convolutional network."""
    return PlainNetwork(seed) if routing is None else RoutedNetwork(routing, seed)


def trained(cells: Cells, networks: Mapping[str, AnyRouting | None]) -> dict[str, list[dict[str, Any]]]:
    """Chooses a learning rate for each network and trains it with every seed."""

    def cell(kind: str, name: str, seed: int, rate: float, steps: int) -> dict[str, Any]:
        routing = networks[name]
        return cells.train(
            f"{kind}-{name}-{seed}" + (f"-{rate}" if kind == "trial" else ""),
            make(routing, seed),
            plain_loss if routing is None else routed_loss,
            on_canvas,
            steps=steps,
            evaluations=1,
            learning_rate=rate,
            seed=seed,
        )

    found: dict[str, list[dict[str, Any]]] = {}
    for name in networks:
        trials = {
            rate: cell("trial", name, SEEDS[0], rate, TRIAL_STEPS)["held_out_errors"][-1] for rate in LEARNING_RATES
        }
        rate = min(trials, key=trials.__getitem__)
        found[name] = [cell("robust", name, seed, rate, ROBUSTNESS_STEPS) for seed in SEEDS]
    return found


def score(
    cells: Cells,
    networks: Mapping[str, AnyRouting | None],
    found: Mapping[str, list[dict[str, Any]]],
    digits: Digits,
) -> None:
    """Adds the errors on these digits, shifted and under affine maps, to the results, and prints a table."""
    sets = [
        shifted(digits, CLEAN_SEED),
        digits._replace(images=affine(digits.images, np.random.default_rng(AFFINE_SEED))),
    ]
    print("\n| network | parameters | learning rate | ms a step | shifted: error % | affine: error % |")
    print("|---" * 6 + "|")
    for name, reached in found.items():
        for each in reached:
            each["clean_error"], each["affine_error"] = cells.errors(
                f"robust-{name}-{each['seed']}", make(networks[name], 0), sets
            )
        step = statistics.median(1e3 * each["seconds"] / each["steps"] for each in reached)
        print(
            f"| {name} | {reached[0]['parameters']:,} | {reached[0]['learning_rate']} | {step:.0f} "
            f"| {spread([each['clean_error'] for each in reached])} "
            f"| {spread([each['affine_error'] for each in reached])} |"
        )


def entropy(network: Any, images: np.ndarray) -> float:
    """The mean entropy of the couplings, 1 if even, of pictures in one batch."""
    couplings = nnx.jit(lambda network, pictures: network(pictures).couplings)(network, scaled(images))
    return float(jnp.mean(jax.vmap(coupling_entropy)(couplings.reshape(len(images), -1, CLASSES))))


STUDIES = {"accuracy": accuracy, "robustness": robustness, "agreement": agreement}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mnist", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/mnist"))
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"))
    arguments = parser.parse_args()
    found = STUDIES[arguments.study](arguments.data, arguments.out)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {jax.default_backend()}"
    results = {"cells": found, "machine": machine, "jax": jax.__version__, "date": time.strftime("%Y-%m-%d")}
    file = RESULTS / f"mnist-{arguments.study}.json"
    file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
