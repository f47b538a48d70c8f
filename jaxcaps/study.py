"""`python -m jaxcaps.study`: many runs that differ in one thing, and a table of their differences."""

import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxcaps.commands import absolute, absolute_path, home, run_command
from jaxcaps.errors import UserError

if TYPE_CHECKING:
    from jaxcaps.studies.plan import Plan


@dataclass(frozen=True)
class Flags:
    data: str = "synthetic"
    """synthetic | folder:DIR | csv:FILE | npz:FILE | piccolo:DIR | tfds:NAME"""
    plan: str | None = None
    """a ready-made study: paper, components, open-questions, architecture; other flags go before its own"""
    inits: str | None = None
    """initialisations, separated by commas: random,inpaint,contrast,inpaint+epochs=100,... (docs/study.md)"""
    seeds: str | None = None
    """seeds, separated by commas; 0,1,2 where not given"""
    folds: int = 0
    """cross-validation with so many folds; 0 for the data's own split"""
    label_fractions: str = "1"
    """shares of the labels, separated by commas, as in 0.1,0.25,1"""
    minority: str = ""
    """CLASS:SHARE, as in normal:0.1: training keeps so few of a class"""
    grid: str = ""
    """recipes of fine-tuning, the same for all: 'lr=0.001,0.003 freeze-epochs=0,5' is four"""
    preset: str = "demo"
    """network, picture size and lengths: tiny, demo, small64, vgg, paper224"""
    ssl_epochs: float | None = None
    """epochs of pre-training; the preset's where not given"""
    epochs: float | None = None
    """epochs of fine-tuning; the preset's where not given"""
    vgg_weights: str = ""
    """safetensors file of torchvision's VGG-16, for --inits=imagenet with --preset=vgg"""
    perceptual_weights: str = ""
    """such a file for the perceptual loss of --inits=colourise; without it a fixed random network"""
    ssl: str = ""
    """further flags of every pre-training, in one string: '--lr=0.002 --temperature=0.1'"""
    finetune: str = ""
    """further flags of every fine-tuning"""
    final: str | None = None
    """a finished study: its chosen recipes are run once, with fresh --seeds, and the test split is opened"""
    out: str = "runs/study"
    """the study's folder"""
    jobs: int = 1
    """cells at a time; on a CPU they share its cores"""
    devices: str = ""
    """accelerators by number, separated by commas, dealt to the jobs"""
    keep_checkpoints: bool = False
    """keep every run's checkpoints, which --restore reads, and not only its encoder.safetensors"""
    ledger: str | None = None
    """where each reading of a test split is written down; ledger.csv beside --out where not given"""
    dry_run: bool = False
    """say what would be run and how long it takes, from measured steps"""
    slurm: bool = False
    """write OUT/array.sh, a SLURM array of the cells, and run nothing"""
    cell: Annotated[int | None, tyro.conf.arg(help="run this one cell of the study in --out")] = None


# What makes a study what it is; a final one has it from the study that it names.
OF_PLAN = (
    "data", "plan", "inits", "folds", "label_fractions", "minority", "grid", "preset", "ssl_epochs", "epochs",
    "vgg_weights", "perceptual_weights", "ssl", "finetune",
)  # fmt: skip


def main() -> None:
    flags = tyro.cli(
        Flags,
        prog="python -m jaxcaps.study",
        description="Compares ways of initialising a capsule network: every cell once, resumable, one table.",
    )
    if __name__ == "__main__":  # not where another program calls this
        _end_by_exception()
    out = home(flags.out)
    if flags.cell is not None:
        from jaxcaps.studies.run import run_one

        sys.exit(0 if run_one(out, flags.cell, keep_checkpoints=flags.keep_checkpoints) else 1)
    if flags.jobs < 1:
        raise UserError(f"--jobs={flags.jobs}: give at least 1")

    from jaxcaps.studies.plan import parse_numbers
    from jaxcaps.studies.run import Machine, dry_run, final_plan, run_study, write_array

    if flags.final is not None:
        if flags.seeds is None:
            raise UserError("--final needs fresh --seeds, which took no part in the choice, as in --seeds=100,101,102")
        ignored = [name for name in OF_PLAN if getattr(flags, name) != getattr(Flags, name)]
        if ignored:
            raise UserError(
                f"--{ignored[0].replace('_', '-')} and --final={flags.final}: a final study is the one that it names, "
                "with other seeds; leave the flag away"
            )
        plan = final_plan(home(flags.final), parse_numbers("--seeds", flags.seeds, int))
    else:
        plan = plan_of(flags)
    if flags.dry_run:
        print(dry_run(plan, flags.jobs))
        return
    devices = tuple(part for part in flags.devices.split(",") if part)
    machine = Machine(flags.jobs, devices, flags.keep_checkpoints, home(flags.ledger) if flags.ledger else None)
    if flags.slurm:
        array = write_array(plan, out, machine)
        print(f"Written: {array}. After it has run, this command without --slurm makes the table.")
        return
    sys.exit(0 if run_study(plan, out, machine) else 1)


def _end_by_exception() -> None:
    """So that a study that is told to stop ends its cells, and a cell writes down the seconds that it took."""

    def stop(number: int, frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` has it ignored.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def plan_of(flags: Flags) -> "Plan":
    """The plan that the flags describe.

    Raises:
        UserError: a flag that is not as it should be.
    """
    from jaxcaps.studies.plan import Plan, parse_arms, parse_flags, parse_grid, parse_numbers, with_classes
    from jaxcaps.studies.plans import named_plan

    named = named_plan(flags.plan) if flags.plan is not None else None
    inits = flags.inits or (named.inits if named else "random,inpaint")
    fractions = parse_numbers("--label-fractions", flags.label_fractions, float)
    if not all(0 < fraction <= 1 for fraction in fractions):
        raise UserError(f"--label-fractions={flags.label_fractions}: each should be above 0 and at most 1")
    if flags.folds and not 2 <= flags.folds <= 100:
        raise UserError(f"--folds={flags.folds}: give 2 to 100, or 0 for the data's own split")
    lengths = {"ssl": flags.ssl_epochs, "finetune": flags.epochs}
    epochs = {stage: (f"--epochs={value:g}",) if value is not None else () for stage, value in lengths.items()}
    return with_classes(
        Plan(
            data=absolute(flags.data),
            preset=flags.preset,
            arms=parse_arms(inits),
            seeds=parse_numbers("--seeds", flags.seeds or (named.seeds if named else "0,1,2"), int),
            folds=flags.folds,
            label_fractions=tuple(sorted(fractions)),
            minority=flags.minority,
            recipes=parse_grid(flags.grid),
            vgg_weights=absolute_path(flags.vgg_weights) if flags.vgg_weights else "",
            perceptual_weights=absolute_path(flags.perceptual_weights) if flags.perceptual_weights else "",
            pretrain=epochs["ssl"] + parse_flags("--ssl", flags.ssl),
            finetune=epochs["finetune"] + parse_flags("--finetune", flags.finetune),
        )
    )


if __name__ == "__main__":
    run_command(main)
