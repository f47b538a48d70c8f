"""Everything that is worth measuring on one GPU, in minutes: `python -m benchmarks.accelerator --out=DIR`.

Each part is a module of this package with a function `measure(recorder)`, and runs in its own process with its own time
limit: a part that crashes, runs out of memory or of time loses nothing that it or another part has measured.
"""

from typing import NamedTuple


class Part(NamedTuple):
    """What the runner knows of a part.

    Attributes:
        seconds: its time limit in a run of eight minutes. What a part leaves over goes to the parts after it.
        timed: whether it measures times. Parts that do not run side by side.
    """

    seconds: float
    timed: bool = True


# The most important first. A module's name is the part's.
PARTS = {
    "machine": Part(40),
    "agreement": Part(90, timed=False),
    "tests": Part(90, timed=False),
    "steps": Part(145),
    "capsules": Part(65),
    "profile": Part(50),
    "loader": Part(35),
    "first_step": Part(55),
}
