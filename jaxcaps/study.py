"""`python -m jaxcaps.study`: many runs that differ in one thing, and a table of their differences."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Ge

from data_prep.bounds import check_bounds
from data_prep.flags import check_names
from jaxcaps.commands import run_command
from jaxcaps.config import DataConfig, ModelConfig, choice
from jaxcaps.errors import UserError, nearest
from jaxcaps.plan.config import Config
from jaxcaps.plan.flags import home, with_absolute_paths, with_flags
from jaxcaps.plan.presets import preset
from jaxcaps.studies.ready_made import READY_MADE

if TYPE_CHECKING:
    from jaxcaps.studies.design import Study


@dataclass(frozen=True)
class SharedData(DataConfig):
    """The data of all runs. What differs from run to run has no flag."""

    fold: Annotated[int, tyro.conf.Suppress] = 0
    label_fraction: Annotated[float, tyro.conf.Suppress] = 1.0
    labels_per_class: Annotated[int | None, tyro.conf.Suppress] = None


@dataclass(frozen=True)
class Flags:
    plan: Annotated[
        str | None, tyro.conf.arg(help=f"a ready-made study: {', '.join(READY_MADE)}; other flags override its own")
    ] = None
    inits: str | None = None
    """initialisations, separated by commas: random,inpaint,contrast,inpaint+epochs=100,... (docs/how-to/study.md)"""
    seeds: str | None = None
    """seeds, separated by commas; 0,1,2 if not given"""
    label_fractions: str = "1"
    """fractions of the labels, separated by commas, as in 0.1,0.25,1"""
    labels_per_class: str | None = None
    """instead: numbers of labels of each class, separated by commas, as in 5,10,50,all"""
    against: str = ""
    """compare all arms with this one of --inits, whatever their networks; default: each with its own reference"""
    grid: str = ""
    """fine-tuning recipes, the same for every arm: 'lr=0.001,0.003 freeze-epochs=0,5' makes four"""
    preset: Annotated[str, choice("jaxcaps.plan.presets", "PRESET", "network, picture size and lengths")] = "demo"
    ssl_epochs: float | None = None
    """epochs of pre-training; the preset's if not given"""
    epochs: float | None = None
    """epochs of fine-tuning; the preset's if not given"""
    vgg_weights: str | None = None
    """safetensors file of torchvision's VGG-16, for --inits=imagenet with --preset=vgg"""
    perceptual_weights: str | None = None
    """such a file for the perceptual loss of --inits=colourise; without it a fixed random network"""
    ssl: str = ""
    """further flags of every pre-training, in one string: '--lr=0.002 --temperature=0.1'"""
    finetune: str = ""
    """further flags of every fine-tuning"""
    final: str | None = None
    """a finished study: run its chosen recipes once, with fresh --seeds, and score the test split"""
    out: str = "runs/study"
    """the study's folder"""
    jobs: Annotated[int, Ge(1)] = 1
    """cells at a time; on a CPU they share its cores"""
    devices: str = ""
    """accelerators by number, separated by commas, dealt to the jobs"""
    keep_checkpoints: bool = False
    """keep every run's checkpoints, which --restore reads, and not only its encoder.safetensors"""
    ledger: str | None = None
    """where each reading of a test split is recorded; ledger.csv beside --out if not given"""
    dry_run: bool = False
    """show the cells and how long they take, from measured steps; run nothing"""
    slurm: bool = False
    """write OUT/array.sh, a SLURM array of the cells; run nothing"""
    cell: Annotated[int | None, tyro.conf.arg(help="run this one cell of the study in --out")] = None
    data: SharedData = field(default_factory=SharedData)
    model: ModelConfig = field(default_factory=ModelConfig)


# What may stand beside --final: the study that it names has the rest.
WITH_FINAL = ("final", "seeds", "out", "jobs", "devices", "keep-checkpoints", "ledger", "dry-run", "slurm")
# Flags of the data and the network that differ from run to run.
OF_CELLS = {
    "fold": "--folds makes the folds",
    "label-fraction": "give --label-fractions",
    "architecture": "give the arm convnet in --inits",
}


def main() -> None:
    arguments = sys.argv[1:]
    flags = parse(arguments)
    check_bounds(flags)
    out = home(flags.out)
    if flags.cell is not None:
        from jaxcaps.studies.run import run_one

        sys.exit(0 if run_one(out, flags.cell, keep_checkpoints=flags.keep_checkpoints) else 1)
    from jaxcaps.studies.checks import check
    from jaxcaps.studies.execution import Machine
    from jaxcaps.studies.forecast import forecast
    from jaxcaps.studies.run import run_study, write_array

    study = _final(flags, arguments) if flags.final is not None else design(flags)
    if flags.dry_run:
        check(study)
        print(forecast(study, flags.jobs))
        return
    devices = tuple(part for part in flags.devices.split(",") if part)
    machine = Machine(flags.jobs, devices, flags.keep_checkpoints, home(flags.ledger) if flags.ledger else None)
    if flags.slurm:
        array = write_array(study, out, machine)
        print(f"Written: {array}. After it has run, this command without --slurm makes the table.")
        return
    sys.exit(0 if run_study(study, out, machine) else 1)


def parse(arguments: Sequence[str]) -> Flags:
    """The flags of the command. Those of data and network start from `--preset`, and hold for both stages.

    Raises:
        UserError: an unknown flag or preset, or a flag that differs from run to run.
        SystemExit: `--help`, or a value that tyro refuses (status 2).
    """
    for name in _names(arguments):
        if name in OF_CELLS:
            raise UserError(f"--{name}: the study sets it for each run; {OF_CELLS[name]}")
    check_names(arguments, Flags)
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", default=Flags.preset, nargs="?")
    base = preset(early.parse_known_args(arguments)[0].preset or "", "finetune")
    return tyro.cli(
        Flags,
        args=list(arguments),
        default=Flags(data=SharedData(**vars(base.data)), model=base.model),
        prog="python -m jaxcaps.study",
        description="Compares ways of initialising a capsule network: every cell once, resumable, one table.",
        config=(tyro.conf.OmitArgPrefixes,),
    )


def design(flags: Flags) -> "Study":
    """The study that the flags describe.

    Raises:
        UserError: a flag that is not as it should be, or data that cannot be read if an arm counts its classes.
    """
    from jaxcaps.data.items import class_names
    from jaxcaps.data.sources import open_source
    from jaxcaps.studies.design import Study
    from jaxcaps.studies.notation import parse_arms, parse_flags, parse_grid, parse_labels, parse_numbers
    from jaxcaps.studies.ready_made import ready_made

    def shared(stage: Config, values: dict[str, object], where: str, text: str) -> Config:
        """A stage's preset with the study's data and network, with values by flag, and with the flags in a text."""
        config = replace(stage, data=DataConfig(**vars(flags.data)), model=flags.model)
        given = tuple(f"--{flag}={value}" for flag, value in values.items() if value is not None)
        config = with_flags(config, given, "the study")
        return with_absolute_paths(with_flags(config, parse_flags(where, text), f"{where}={text!r}"))

    finetune = preset(flags.preset, "finetune")
    # No validation labels steer a run of a study: it keeps the last parameters.
    finetune = replace(finetune, training=replace(finetune.training, best_metric="none"))
    ready = ready_made(flags.plan) if flags.plan is not None else None
    study = Study(
        pretrain=shared(
            preset(flags.preset, "ssl"),
            {"perceptual-weights": flags.perceptual_weights, "epochs": flags.ssl_epochs},
            "--ssl",
            flags.ssl,
        ),
        finetune=shared(
            finetune, {"vgg-weights": flags.vgg_weights, "epochs": flags.epochs}, "--finetune", flags.finetune
        ),
        inits=parse_arms(flags.inits or (ready.inits if ready else "random,inpaint")),
        seeds=parse_numbers("--seeds", flags.seeds or (ready.seeds if ready else "0,1,2"), int),
        labels=parse_labels(flags.label_fractions, flags.labels_per_class),
        recipes=parse_grid(flags.grid),
        against=flags.against,
    )
    if study.against not in ("", *study.inits):
        raise UserError(f"--against={study.against}: not among the arms{nearest(study.against, study.inits)}")
    if not any(arm.kind.counts_classes for arm in study.arms):
        return study
    data = study.finetune.data
    source = open_source(
        data.data,
        synthetic_count=data.synthetic_count,
        synthetic_seed=data.synthetic_seed,
        image_size=data.image_size * data.oversampling,
    )
    return replace(study, classes=len(class_names(source.items)))


def _final(flags: Flags, arguments: Sequence[str]) -> "Study":
    from jaxcaps.studies.notation import parse_numbers
    from jaxcaps.studies.run import final_study

    if flags.seeds is None:
        raise UserError("--final needs --seeds that the selection did not use, as in --seeds=100,101,102")
    for name in _names(arguments):
        if name.removeprefix("no-") not in WITH_FINAL:
            raise UserError(
                f"--{name} and --final={flags.final}: a final study repeats the one it names with other seeds; drop "
                f"--{name}"
            )
    return final_study(home(str(flags.final)), parse_numbers("--seeds", flags.seeds, int))


def _names(arguments: Sequence[str]) -> list[str]:
    """The names of the flags that were given."""
    return [each[2:].partition("=")[0].replace("_", "-") for each in arguments if each.startswith("--")]


if __name__ == "__main__":
    run_command(main, resumes=True)
