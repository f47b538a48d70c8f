"""TensorBoard's event files in the run folder, written without TensorFlow."""

import math
from pathlib import Path

import numpy as np

from jaxcaps.training.loggers.base import LoggedRun, Logger, LoggerKind
from jaxcaps.training.writers import Row


class _TensorBoard(Logger):
    def __init__(self, run: LoggedRun):
        from tensorboardX import SummaryWriter

        known = any(run.folder.glob("events.out.tfevents.*"))
        # An interrupted run wrote rows after its checkpoint, and may have gone on without TensorBoard for a while. It
        # hides all that it has and gets the rows anew.
        self.writer = SummaryWriter(str(run.folder), purge_step=0 if known else None, max_queue=1000, flush_secs=1)
        self.writer.add_text("configuration", f"```yaml\n{run.text}```", 0)
        for row in run.rows:
            self.row(row)

    def row(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step" and math.isfinite(value):
                self.writer.add_scalar(name, value, int(row["step"]))

    def picture(self, name: str, step: int, file: Path) -> None:
        from PIL import Image

        with Image.open(file) as image:
            self.writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        self.writer.close()


LOGGER = LoggerKind("tensorboardX", _TensorBoard)
