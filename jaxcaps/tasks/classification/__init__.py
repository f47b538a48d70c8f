"""Tasks of fine-tuning, by `--architecture`: each module defines `TASK`, named like its module."""
