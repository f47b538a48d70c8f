"""Tasks. Each is one file in `pretraining` or `classification` with its settings, its network and its loss."""

from data_prep.registry import Registry
from jaxcaps.tasks.base import Examples, Shard, Task

PRETRAINING_TASKS: Registry[type[Task]] = Registry("jaxcaps.tasks.pretraining", "TASK", what="task")
CLASSIFICATION_TASKS: Registry[type[Task]] = Registry(
    "jaxcaps.tasks.classification", "TASK", what="architecture of a classifier"
)

__all__ = ["CLASSIFICATION_TASKS", "PRETRAINING_TASKS", "Examples", "Shard", "Task"]
