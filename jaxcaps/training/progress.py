"""What a person watching sees: a bar on a terminal, plain lines elsewhere."""

import logging
import sys
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger("jaxcaps")


class ProgressBar:
    """A bar with loss, images a second and time left, if standard error is a terminal; silent otherwise."""

    def __init__(self, total: int, done: int, batch_size: int):
        self.bar = Progress(
            TextColumn("{task.completed}/{task.total} steps"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.0f} images/s"),
            TimeRemainingColumn(),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self.batch_size = batch_size
        self.task = self.bar.add_task("train", total=total, completed=done, loss=float("nan"), rate=0.0)

    def __enter__(self) -> "ProgressBar":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, loss: float) -> None:
        speed = self.bar.tasks[0].speed or 0.0
        self.bar.update(self.task, advance=1, loss=loss, rate=speed * self.batch_size)


def duration(seconds: float) -> str:
    """`1h02m`, `3m20s` or `12s`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
