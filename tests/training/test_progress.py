"""The estimate of the time left."""

import math
import time

import pytest

from jaxcaps.training.progress import Pace


def test_evaluations_are_timed_apart_and_compilation_does_not_count(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    pace = Pace(batch_size=8)

    def steps(count):
        for _ in range(count):
            clock[0] += 2.0
            pace.step()

    def evaluate(seconds):
        clock[0] += seconds
        pace.evaluated(seconds)

    clock[0] += 60
    pace.step()
    assert math.isnan(pace.seconds_left(10, 1))
    steps(4)
    assert pace.row() == {"images_per_second": 4.0}
    # The first evaluation compiles.
    evaluate(50.0)
    assert pace.seconds_left(10, 3) == pytest.approx(20)
    pace.restart()
    steps(5)
    pace.row()
    evaluate(7.0)
    assert pace.seconds_left(10, 3) == pytest.approx(10 * 2 + 3 * 7)
