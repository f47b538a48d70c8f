"""What a study does, worked out before anything runs: its arms, seeds, folds, shares of the labels, recipes, cells.

A cell is one arm with one seed on one fold: it pre-trains once, and fine-tunes once for each share of the labels and
each recipe.
"""

import dataclasses
import itertools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcaps.config import ENCODER_FIELDS, changed, from_dict
from jaxcaps.data.items import class_names
from jaxcaps.data.sampling import shuffled
from jaxcaps.data.sources import open_source
from jaxcaps.errors import UserError
from jaxcaps.models.perceptual import read_vgg16
from jaxcaps.models.vgg import read_convolutions
from jaxcaps.plan.config import Config, architecture_hash
from jaxcaps.plan.flags import parse_config
from jaxcaps.studies.arms import CLASSES, Arm, arm, check_not_own
from jaxcaps.tasks.pretraining.colourise import ColouriseConfig, uses_perceptual_network
from jaxcaps.training.setup import load_data

# Which pictures are in which split, beside what the study gives itself: the same in both stages.
SPLITTING = ("split_seed", "subset_seed", "synthetic_count", "synthetic_seed")


@dataclass(frozen=True)
class Recipe:
    """A point of the grid of fine-tuning: its flags, such as ("--lr=0.001", "--freeze-epochs=5")."""

    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "+".join(flag.removeprefix("--") for flag in self.flags) or "as-given"


@dataclass(frozen=True)
class Cell:
    """One arm with one seed on one fold (None where the data's own split is used)."""

    arm: str
    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        """Its folder in the study's."""
        fold = "" if self.fold is None else f"/fold-{self.fold}"
        return f"{self.arm}/seed-{self.seed}{fold}"


@dataclass(frozen=True)
class Choice:
    """The recipe that an arm is given for one share of the labels on one fold (None: the data's own split)."""

    arm: str
    label_fraction: float
    fold: int | None
    recipe: str


@dataclass(frozen=True)
class Plan:
    """All of a study.

    Attributes:
        data, preset, minority: as for `jaxcaps.train`.
        arms: in the order of the table.
        seeds: one run of each arm for each.
        folds: 0 for the data's own split.
        label_fractions: shares of the labels.
        recipes: the grid of fine-tuning, the same for all arms.
        pretrain, finetune: flags of all pre-trainings and all fine-tunings.
        vgg_weights: file of VGG-16's kernels, for the arm `imagenet`.
        perceptual_weights: file of VGG-16's kernels, for the perceptual loss of the arms that have one.
        split: what is scored; "test" in a final study alone.
        chosen: the recipes of a final study; else empty.
        selection: the study that chose them; else empty.
    """

    data: str
    preset: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    folds: int = 0
    label_fractions: tuple[float, ...] = (1.0,)
    minority: str = ""
    recipes: tuple[Recipe, ...] = (Recipe(),)
    pretrain: tuple[str, ...] = ()
    finetune: tuple[str, ...] = ()
    vgg_weights: str = ""
    perceptual_weights: str = ""
    split: str = "validation"
    chosen: tuple[Choice, ...] = ()
    selection: str = ""

    def cells(self) -> list[Cell]:
        """In the order in which they run: seed by seed, so that a study that is stopped has whole comparisons.

        The baselines that are given the budget of another arm come after it.
        """
        folds = range(self.folds) if self.folds else (None,)
        arms = sorted(self.arms, key=lambda each: each.longer != "")
        return [Cell(each.name, seed, fold) for seed in self.seeds for fold in folds for each in arms]

    def pretrained(self) -> list[Arm]:
        """The arms that pre-train; the longer baselines are given the budget of the first that suits the data."""
        return [each for each in self.arms if each.pretrain is not None]

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def recipes_of(self, cell: Cell, fraction: float) -> list[Recipe]:
        """What a cell fine-tunes with: the whole grid, or in a final study what was chosen for it."""
        if self.arm(cell.arm).pixels:
            return [Recipe()]
        if not self.chosen:
            return list(self.recipes)
        wanted = (cell.arm, fraction, cell.fold)
        names = [one.recipe for one in self.chosen if (one.arm, one.label_fraction, one.fold) == wanted]
        return [recipe for recipe in self.recipes if recipe.name in names]

    def common_flags(self, cell: Cell) -> list[str]:
        found = self.arm(cell.arm)
        flags = [f"--data={self.data}", f"--preset={self.preset}", f"--seed={cell.seed}", *found.network]
        if cell.fold is not None:
            flags += [f"--folds={self.folds}", f"--fold={cell.fold}"]
        return flags + ([f"--minority={self.minority}"] if self.minority else [])

    def pretraining(self, cell: Cell, out: str) -> list[str]:
        """The flags of `jaxcaps.train` for a cell's pre-training.

        Its probes steer nothing; they see the labels of the smallest share all the same.
        """
        own = self.arm(cell.arm).pretrain
        assert own is not None
        fraction = f"--label-fraction={min(self.label_fractions):g}"
        flags = ["--stage=ssl", *self.common_flags(cell), fraction, *self.pretrain, *own, f"--out={out}"]
        if not self.perceptual_weights:
            return flags
        config = parse_config(flags)
        wanted = uses_perceptual_network(config) and config.options(ColouriseConfig).perceptual_weights is None
        return [*flags, *([f"--perceptual-weights={self.perceptual_weights}"] if wanted else [])]

    def finetuning(self, cell: Cell, fraction: float, recipe: Recipe, restore: str | None, out: str) -> list[str]:
        """The flags of `jaxcaps.train` for one of a cell's fine-tunings. It keeps the last parameters."""
        flags = ["--stage=finetune", *self.common_flags(cell), f"--label-fraction={fraction:g}", "--best-metric=none"]
        flags += [*self.finetune, *self.arm(cell.arm).finetune, *recipe.flags]
        flags += [f"--vgg-weights={self.vgg_weights}"] if self.arm(cell.arm).imagenet else []
        return [*flags, *([f"--restore={restore}"] if restore else []), f"--out={out}"]


def parse_arms(text: str) -> tuple[Arm, ...]:
    """Arms separated by commas; the arm that each is compared with is added in front where it is missing.

    Raises:
        UserError: none, an unknown one, or one twice.
    """
    arms = [arm(part.strip()) for part in text.split(",") if part.strip()]
    if not arms:
        raise UserError("--inits= names no initialisation; try --inits=random,inpaint")
    names = [each.name for each in arms]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"--inits={text}: {', '.join(sorted(twice))} is there twice")
    missing = [arm(each.reference) for each in arms if each.reference not in names]
    return (*dict.fromkeys(missing), *arms)


def parse_numbers(flag: str, text: str, kind: type) -> tuple[Any, ...]:
    """`0,1,2` as numbers.

    Raises:
        UserError: none, something that is no such number, or one twice.
    """
    try:
        values = tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UserError(f"{flag}={text}: expected numbers separated by commas") from None
    if not values or len(set(values)) < len(values):
        raise UserError(f"{flag}={text}: expected numbers separated by commas, each once")
    return values


def parse_grid(text: str) -> tuple[Recipe, ...]:
    """`lr=0.001,0.003 freeze-epochs=0,5` as the product of its axes.

    Values that hold commas themselves are separated by semicolons: `lr-mult=stem:1;stem:0.1,primary:0.1`.

    Raises:
        UserError: not of that form, or a flag that the study gives itself.
    """
    axes = []
    for part in text.split():
        name, separator, text_of_values = part.partition("=")
        values = text_of_values.split(";" if ";" in text_of_values else ",")
        if not separator or not all(values):
            raise UserError(f"--grid={text!r}: expected flag=value,value for each axis, as in 'lr=0.001,0.003'")
        check_not_own(name, f"--grid={text!r}")
        axes.append([f"--{name.removeprefix('--')}={value}" for value in values])
    return tuple(Recipe(tuple(flags)) for flags in itertools.product(*axes))


def parse_flags(flag: str, text: str) -> tuple[str, ...]:
    """Flags of `jaxcaps.train` in one string.

    Raises:
        UserError: something that is no flag, or a flag that the study gives itself.
    """
    flags = tuple(shlex.split(text))
    if flags and not flags[0].startswith("--"):
        raise UserError(f"{flag}={text!r}: expected flags of jaxcaps.train such as --lr=0.001, found {flags[0]!r}")
    for each in flags:
        if each.startswith("--"):
            check_not_own(each, f"{flag}={text!r}")
    return flags


def with_classes(plan: Plan) -> Plan:
    """The plan with the data's number of classes where its arms ask for it.

    Raises:
        UserError: the data cannot be read.
    """

    def asks(each: Arm) -> bool:
        return any(CLASSES in flag for flag in each.pretrain or ())

    if not any(map(asks, plan.arms)):
        return plan
    data = parse_config(plan.finetuning(plan.cells()[0], plan.label_fractions[0], Recipe(), None, "unused")).data
    source = open_source(
        data.data,
        synthetic_count=data.synthetic_count,
        synthetic_seed=data.synthetic_seed,
        image_size=data.image_size * data.oversampling,
    )
    classes = str(len(class_names(source.items)))
    arms = (
        dataclasses.replace(each, pretrain=tuple(flag.replace(CLASSES, classes) for flag in each.pretrain or ()))
        if asks(each)
        else each
        for each in plan.arms
    )
    return dataclasses.replace(plan, arms=tuple(arms))


def check(plan: Plan) -> dict[str, Config]:
    """Makes every configuration of the plan once, so that a mistake is found before anything runs.

    Returns:
        The configuration of each arm's fine-tuning with the first recipe.

    Raises:
        UserError: a bad flag in any of them, a bad file of weights, or arms that differ in architecture, data or
            number of steps without being declared baselines.
    """
    if not plan.pretrained() and any(each.longer for each in plan.arms):
        raise UserError("--inits: random-epochs and random-seconds need an arm that pre-trains, whose budget they get")
    if any(each.imagenet for each in plan.arms) != bool(plan.vgg_weights):
        raise UserError("--inits: imagenet and --vgg-weights=FILE need each other")
    if plan.vgg_weights:
        read_convolutions(Path(plan.vgg_weights), "--vgg-weights")
    first = plan.cells()[0]
    classes = _check_data(plan, first)
    configs: dict[str, Config] = {}
    for each in plan.arms:
        if each.pixels:
            continue
        cell = Cell(each.name, first.seed, first.fold)
        for recipe in plan.recipes:
            config = parse_config(plan.finetuning(cell, plan.label_fractions[0], recipe, None, "unused"))
            first_config = configs.setdefault(each.name, config)
            if (config.model, config.data) != (first_config.model, first_config.data):
                raise UserError(
                    f"--grid: {recipe.name} changes network or data, so that arms that chose differently could "
                    "not be compared; give arms instead, as in --inits=random@capsule-dim=8,inpaint@capsule-dim=8"
                )
        before = None if each.pretrain is None else parse_config(plan.pretraining(cell, "unused"))
        if before is not None:
            _check_before(each, before, configs[each.name])
            training = configs[each.name].training
            if "seconds" in (one.longer for one in plan.arms) and training.evaluate_every >= training.epochs:
                raise UserError(
                    f"--evaluate-every={training.evaluate_every:g} with --epochs={training.epochs:g}: random-seconds "
                    "goes by the pace after the first evaluation; give a smaller --evaluate-every in --finetune"
                )
        if configs[each.name].classify.transfer_latent and (before is None or before.model.ssl_capsules != classes):
            raise UserError(
                f"--inits: {each.name} hands latent capsules on as class capsules (--transfer-latent): it has to "
                f"pre-train with --ssl-capsules={classes}, as many as there are classes"
            )
        if before is not None and (file := before.options(ColouriseConfig).perceptual_weights):
            read_vgg16(Path(file))
    for each in plan.arms:
        if each.baseline:
            continue
        differing = _differences(configs[each.reference], configs[each.name])
        if differing:
            raise UserError(
                f"{each.name} and {each.reference} cannot be compared: {differing}. Arms must share architecture, "
                "data and steps of fine-tuning; only declared baselines may differ"
            )
    return configs


def _check_before(of: Arm, before: Config, after: Config) -> None:
    """
    Raises:
        UserError: a bad flag of a pre-training, or one that fits no fine-tuning.
    """
    changes = changed(before.model, after.model, ENCODER_FIELDS) + changed(before.data, after.data, SPLITTING)
    if changes:
        listed = "\n".join(changes)
        raise UserError(
            f"{of.name}: its pre-training and its fine-tuning differ in what both must share (NAME@flag=value, or the "
            f"flag in both --ssl and --finetune, gives it to both):\n{listed}"
        )


def _check_data(plan: Plan, first: Cell) -> int:
    """How many classes the data has.

    Raises:
        UserError: as `load_data`, of any fold; or the smallest share of the labels, the one that may leave a class
            without any, shows too few of validation to choose a recipe by, or fewer of training than a batch has where
            none is drawn twice.
    """
    fraction = min(plan.label_fractions)
    trainings = [parse_config(plan.finetuning(first, fraction, each, None, "unused")).training for each in plan.recipes]
    # The largest batch of those recipes that draw none twice.
    largest = max((each.batch_size for each in trainings if each.sampling == "shuffled"), default=0)
    for fold in range(plan.folds) if plan.folds else (None,):
        flags = plan.finetuning(dataclasses.replace(first, fold=fold), fraction, Recipe(), None, "unused")
        data = load_data(parse_config(flags), ("train", "validation"))
        shuffled(len(data.splits["train"]), largest, seed=0)
        shown = set(data.splits["validation"].labels.tolist()) - {-1}
        missing = [name for number, name in enumerate(data.classes) if number not in shown]
        if missing and len(plan.recipes) > 1 and fraction < 1:
            where = "" if fold is None else f" of fold {fold}"
            raise UserError(
                f"--label-fractions: {fraction:g} of the labels shows none of {', '.join(missing)} in validation"
                f"{where}, by which recipes are chosen; give a larger share"
            )
    return len(data.classes)


def _differences(first: Config, second: Config) -> str:
    """In words, what makes two fine-tunings incomparable; empty where nothing does."""
    pairs = {
        # The number of classes is the data's, and the same for both.
        "architecture": (architecture_hash(first, 0), architecture_hash(second, 0)),
        "data": (first.data, second.data),
        "epochs": (first.training.epochs, second.training.epochs),
        "batch size": (first.training.effective_batch, second.training.effective_batch),
        "sampling": (first.training.sampling, second.training.sampling),
    }
    return ", ".join(f"their {name} differs ({one} and {two})" for name, (one, two) in pairs.items() if one != two)


def to_plain(plan: Plan) -> dict[str, Any]:
    """As YAML holds it."""
    return dataclasses.asdict(plan)


def from_plain(values: dict[str, Any], origin: str) -> Plan:
    """Raises UserError where `values` are no plan."""
    return from_dict(Plan, values, origin)
