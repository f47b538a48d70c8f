"""`python -m data_prep`: raw pictures to training-ready ones."""

import argparse
import sys
from collections.abc import Sequence

import tyro

from data_prep.config import PRESETS, Preparation
from data_prep.errors import UserError


def parse(arguments: Sequence[str]) -> Preparation:
    """Defaults < `--preset` < flags.

    Raises:
        UserError: an unknown preset.
        SystemExit: `--help`, or a flag that tyro refuses (status 2).
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", default="endoscopy")
    try:
        preset = parser.parse_known_args(arguments)[0].preset
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    if preset not in PRESETS:
        raise UserError(f"--preset={preset}: unknown preset; known: {', '.join(PRESETS)}")
    return tyro.cli(
        Preparation,
        args=list(arguments),
        default=Preparation(source=tyro.MISSING, out=tyro.MISSING, preset=preset, steps=PRESETS[preset]),
        prog="python -m data_prep",
        description="Prepares raw pictures for training: cleans, equalises and resizes them, and writes labels.csv.",
        config=(tyro.conf.OmitArgPrefixes,),
    )


def main() -> int:
    """Exit status: 0, 2 after a user's mistake, 130 after an interruption."""
    try:
        config = parse(sys.argv[1:])
        # Loaded only now: --help answers at once.
        from data_prep.pipeline.prepare import prepare

        done = prepare(config)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is finished", file=sys.stderr)
        return 130
    print(done.summary(config.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
