"""Self-supervised tasks, for `--stage=ssl`. Each module defines `TASK`; the module's name is the task's name."""
