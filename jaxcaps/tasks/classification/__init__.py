"""Fine-tuning tasks by `--architecture`. Each module defines `TASK`; the module's name is the task's name."""
