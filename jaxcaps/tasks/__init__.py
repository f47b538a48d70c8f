"""What is learnt: each task is a frozen dataclass that makes its modules, its views and its loss."""

from jaxcaps.tasks.base import Examples, Shard, Task
from jaxcaps.tasks.classify import Classify
from jaxcaps.tasks.colourise import Colourise
from jaxcaps.tasks.convolve import ClassifyPlainly
from jaxcaps.tasks.inpaint import Inpaint

__all__ = ["Classify", "ClassifyPlainly", "Colourise", "Examples", "Inpaint", "Shard", "Task"]
