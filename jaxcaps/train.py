"""`python -m jaxcaps.train`: pre-training and fine-tuning."""

import sys

from jaxcaps.commands import parse_config, run_command
from jaxcaps.large_pages import use_large_pages


def main() -> None:
    config = parse_config(sys.argv[1:])
    if __name__ == "__main__":  # not where another program calls this
        use_large_pages()
    # jax is imported only now: --help and a mistyped flag answer at once.
    from jaxcaps.training.loop import train

    train(config)


if __name__ == "__main__":
    run_command(main)
