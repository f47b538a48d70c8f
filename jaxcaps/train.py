"""`python -m jaxcaps.train`: pre-training and fine-tuning."""

import sys

from jaxcaps.commands import parse_config, run_command


def main() -> None:
    config = parse_config(sys.argv[1:])
    # jax is imported only now: --help and a mistyped flag answer at once.
    from jaxcaps.training.loop import train

    train(config)


if __name__ == "__main__":
    run_command(main)
