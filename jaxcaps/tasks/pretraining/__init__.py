"""Self-supervised tasks, for `--stage=ssl`: each module defines `TASK`, named like its module."""
