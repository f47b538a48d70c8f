"""Progress display: a progress bar on a terminal, plain log lines elsewhere."""

import math
import sys
import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """A progress bar with loss, images per second and time left, if standard output is a terminal; otherwise silent."""

    def __init__(self, total: int, done: int, batch_size: int):
        self.bar = Progress(
            TextColumn("{task.completed}/{task.total} steps"),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            disable=not sys.stdout.isatty(),
            transient=True,
        )
        self.batch_size = batch_size
        self.task = self.bar.add_task("train", total=total, completed=done, status="compiling the step")

    def __enter__(self) -> "ProgressBar":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, loss: float) -> None:
        rate = (self.bar.tasks[0].speed or 0.0) * self.batch_size
        self.bar.update(self.task, advance=1, status=f"loss {loss:.4f}  {rate:.0f} images/s")


class Pace:
    """Measures the speed of steps, without the first one, which compiles, and evaluations apart from steps."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.compiled: float | None = None
        self.steps = self.row_steps = self.evaluations = 0
        self.began = self.lapped = self.seconds = self.evaluation = 0.0

    def step(self) -> None:
        if self.compiled is None:
            self.compiled = self.began = self.lapped = time.monotonic()
        else:
            self.steps += 1
            self.row_steps += 1

    def row(self) -> dict[str, float]:
        """Images per second since the last row, if a step was timed."""
        seconds = time.monotonic() - self.began
        self.seconds += seconds
        return {"images_per_second": self.row_steps * self.batch_size / seconds} if self.row_steps else {}

    def evaluated(self, seconds: float) -> None:
        """Takes the time of an evaluation. The first one does not count, because it compiles."""
        self.evaluation = seconds if self.evaluations else 0.0
        self.evaluations += 1

    def lap(self) -> float:
        """Seconds since the last call, or since the first step."""
        since, self.lapped = self.lapped, time.monotonic()
        return self.lapped - since

    def restart(self) -> None:
        self.began, self.row_steps = time.monotonic(), 0

    def seconds_left(self, steps: int, evaluations: int) -> float:
        """Estimated seconds for this many more steps and evaluations."""
        if not self.steps:
            return math.nan
        return self.seconds / self.steps * steps + self.evaluation * evaluations


def duration(seconds: float) -> str:
    """Formats seconds as `1h02m`, `3m20s` or `12s`; `?` if unknown."""
    if math.isnan(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
