"""`python -m jaxcaps.train`: pre-training and fine-tuning."""

import sys

from jaxcaps.commands import run_command
from jaxcaps.plan.flags import parse_config


def main() -> None:
    config = parse_config(sys.argv[1:])
    # Import jax late, so that --help and flag errors appear at once.
    from jaxcaps.reporting.making import ReportAtEnd
    from jaxcaps.training import train

    train(config, callbacks=[ReportAtEnd()] if config.machine.report else [])


if __name__ == "__main__":
    run_command(main, resumes=True)
