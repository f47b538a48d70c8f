"""`python -m jaxcaps.train`: pre-training and fine-tuning."""

import sys

from jaxcaps.commands import run_command
from jaxcaps.plan.flags import parse_config


def main() -> None:
    config = parse_config(sys.argv[1:])
    # Import jax late, so that --help and flag errors appear at once.
    from jaxcaps.training.loop import train

    if config.machine.report:
        from jaxcaps.reporting.making import report_at_end

        train(config, then=report_at_end)
    else:
        train(config)


if __name__ == "__main__":
    run_command(main)
