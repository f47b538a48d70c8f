"""The design of a study: arms, seeds, folds, visible labels and recipes, and the configuration of every run.

A cell is one arm with one seed on one fold. It pre-trains once, and fine-tunes once for each choice of visible labels
and each recipe. Such a choice is a text: a share of each class, such as "0.1", or "10-per-class".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from jaxcaps.config import DataConfig
from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config, paths_of
from jaxcaps.plan.flags import checked, with_flags
from jaxcaps.studies.notation import ALL_SHOWN, PER_CLASS, Recipe, StudyArm, study_arm
from jaxcaps.tasks import PRETRAINING_TASKS

# Stands for a folder where none is needed yet.
UNUSED = Path("unused")


@dataclass(frozen=True)
class Cell:
    """One arm with one seed on one fold (None: the data's own split)."""

    arm: str
    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        """The folder of the cell in the folder of the study."""
        fold = "" if self.fold is None else f"/fold-{self.fold}"
        return f"{self.arm}/seed-{self.seed}{fold}"


@dataclass(frozen=True)
class Choice:
    """The recipe of an arm for one choice of visible labels on one fold (None: the data's own split)."""

    arm: str
    labels: str
    fold: int | None
    recipe: str


@dataclass(frozen=True)
class Study:
    """All of a study. `jaxcaps.studies.checks.check` says whether it can run.

    Attributes:
        pretrain, finetune: what all pre-trainings and all fine-tunings share, the number of folds included.
        inits: the arms as typed, in the order of the table.
        seeds: each arm has one run for each.
        labels: choices of visible labels, fewest first.
        recipes: the grid of fine-tuning, the same for all arms.
        against: the arm that all others are compared with, whatever their networks; "": each with its own reference.
        classes: how many the data has; 0 if no arm reads it.
        split: what is scored; "test" in a final study alone.
        chosen: the recipes of a final study; else empty.
        selection: the folder of the study that chose them; else empty.
    """

    pretrain: Config
    finetune: Config
    inits: tuple[str, ...]
    seeds: tuple[int, ...]
    labels: tuple[str, ...] = (ALL_SHOWN,)
    recipes: tuple[Recipe, ...] = (Recipe(),)
    against: str = ""
    classes: int = 0
    split: str = "validation"
    chosen: tuple[Choice, ...] = ()
    selection: str = ""

    @cached_property
    def arms(self) -> tuple[StudyArm, ...]:
        return tuple(map(study_arm, self.inits))

    @cached_property
    def pretrained(self) -> tuple[str, ...]:
        """The arms that pre-train. Longer baselines get the budget of the first one that suits the data."""
        return tuple(arm.name for arm in self.arms if arm.kind.pretrain is not None)

    def reference(self, arm: StudyArm) -> str:
        """The arm that this one is compared with."""
        return self.against or arm.reference

    @property
    def folds(self) -> int:
        """0: the data's own split."""
        return self.finetune.data.folds

    @property
    def fold_numbers(self) -> tuple[int | None, ...]:
        return tuple(range(self.folds)) or (None,)

    def cells(self) -> list[Cell]:
        """In the order in which they run: seed by seed, so that a study that is stopped has whole comparisons.

        The baselines that get the budget of another arm come after it.
        """
        arms = sorted(self.arms, key=lambda arm: arm.kind.longer != "")
        return [Cell(arm.name, seed, fold) for seed in self.seeds for fold in self.fold_numbers for arm in arms]

    def recipes_of(self, cell: Cell, labels: str) -> list[Recipe]:
        """The recipes of a cell: the whole grid, or in a final study the chosen one."""
        if study_arm(cell.arm).kind.pixels:
            return [Recipe()]
        if not self.chosen:
            return list(self.recipes)
        wanted = (cell.arm, labels, cell.fold)
        names = [one.recipe for one in self.chosen if (one.arm, one.labels, one.fold) == wanted]
        return [recipe for recipe in self.recipes if recipe.name in names]

    def pretraining(self, cell: Cell, folder: Path = UNUSED) -> Config:
        """The configuration of a cell's pre-training.

        Its probes steer nothing, and still see no more labels than the fine-tuning that sees the fewest.

        Raises:
            UserError: flags that the arm cannot use, or values that a run cannot use.
        """
        return _placed(_pretraining(self, cell.arm), cell, self.labels[0], folder / "ssl")

    def finetuning(self, cell: Cell, labels: str, recipe: Recipe, folder: Path = UNUSED) -> Config:
        """The configuration of one of a cell's fine-tunings, which starts from its pre-training if it has one.

        Raises:
            UserError: flags that the arm cannot use, or values that a run cannot use.
        """
        config = _finetuning(self, cell.arm, recipe)
        if config.restore is not None:
            config = replace(config, restore=str(folder / "ssl"))
        return _placed(config, cell, labels, folder / "finetune" / labels / recipe.name)


def with_labels(data: DataConfig, labels: str) -> DataConfig:
    """The data with a choice of visible labels, such as "0.1" or "10-per-class"."""
    if labels.endswith(PER_CLASS):
        return replace(data, label_fraction=1.0, labels_per_class=int(labels.removesuffix(PER_CLASS)))
    return replace(data, label_fraction=float(labels), labels_per_class=None)


def _placed(config: Config, cell: Cell, labels: str, out: Path) -> Config:
    data = replace(with_labels(config.data, labels), fold=cell.fold or 0)
    return replace(config, seed=cell.seed, data=data, out=str(out))


@cache
def _pretraining(study: Study, name: str) -> Config:
    arm = study_arm(name)
    assert arm.kind.pretrain is not None
    with _named(f"{name}, pre-training"):
        config = arm.kind.pretrain(study.pretrain, study.classes)
        return checked(_with_own_files(with_flags(config, arm.network + arm.pretrain, f"--inits={name}")))


@cache
def _finetuning(study: Study, name: str, recipe: Recipe) -> Config:
    arm = study_arm(name)
    with _named(f"{name}, fine-tuning" + (f" with {recipe.name}" if recipe.flags else "")):
        config = study.finetune if arm.kind.imagenet else replace(study.finetune, vgg_weights=None)
        config = with_flags(arm.kind.finetune(config, study.classes), arm.network, f"--inits={name}")
        config = with_flags(config, recipe.flags, "--grid")
        if arm.kind.pretrain is not None:
            config = replace(config, restore=str(UNUSED))
        elif config.classify.transfer_latent:
            raise UserError(
                "--transfer-latent takes pre-trained latent capsules, but this arm does not pre-train; drop the flag"
            )
        return checked(config)


def _with_own_files(config: Config) -> Config:
    """Drops the files of the study that the task of this arm does not read."""
    for name, task in PRETRAINING_TASKS.items():
        if name != config.task or not task.reads_files(config):
            options = config.options(task.settings)
            config = config.with_options(replace(options, **dict.fromkeys(paths_of(options))))
    return config


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Adds the name of the run to errors."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{what}: {error}") from None
