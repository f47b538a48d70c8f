"""`python -m data_prep`: from raw pictures to pictures ready for training."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import tyro

from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.flags import check_names
from data_prep.presets import PRESETS
from data_prep.sources import SOURCES


def parse(arguments: Sequence[str]) -> Preparation:
    """Reads the command line: defaults < `--preset`, or that of the kind of source < flags.

    Raises:
        UserError: an unknown flag or preset.
        SystemExit: `--help`, or flags that tyro refuses (status 2).
    """
    check_names(arguments, Preparation)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset")
    parser.add_argument("--source", default="")
    try:
        given = parser.parse_known_args(arguments)[0]
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    kind = given.source.partition(":")[0]
    # An unknown kind is refused later, when all flags are known.
    preset = given.preset or (SOURCES[kind].preset if kind in SOURCES else Preparation.preset)
    return tyro.cli(
        Preparation,
        args=list(arguments),
        default=Preparation(tyro.MISSING, tyro.MISSING, preset, steps=PRESETS.find(preset, "--preset")),
        prog="python -m data_prep",
        description=_description(),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _description() -> str:
    """The head of `--help`, from the tables of sources and presets."""
    lines = ["Prepares raw pictures for training: cleans, equalises and resizes them, and writes labels.csv.", ""]
    lines += [f"--source={kind}:{source.place}" for kind, source in SOURCES.items()]
    lines += [f"--preset={name}: {importlib.import_module(f'{PRESETS.package}.{name}').__doc__}" for name in PRESETS]
    return "\n".join(lines)


def main() -> int:
    """Runs the command. Returns its exit status: 0, 2 after a user's mistake, 130 after an interruption."""
    try:
        config = parse(sys.argv[1:])
        # Imported only now: --help answers at once.
        from data_prep.pipeline.prepare import prepare

        done = prepare(config)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; repeat the command to continue from the finished frames", file=sys.stderr)
        return 130
    print(done.summary(config.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
