"""How long a study will take."""

import dataclasses

import pytest

from jaxcaps.errors import UnsuitableTask
from jaxcaps.plan.presets import preset
from jaxcaps.studies import forecast as forecasting
from jaxcaps.studies.forecast import Measured, forecast, measure
from tests.studies.build import study_of


def test_a_forecast_adds_up_the_steps_of_every_cell(monkeypatch):
    seen = []

    def measured(config):
        seen.append(config)
        if config.task == "colourise":
            raise UnsuitableTask("the pictures are grey")
        # A minute of steps for each epoch, and half a minute to start.
        return Measured(30, 60, round(config.training.epochs))

    monkeypatch.setattr(forecasting, "measure", measured)
    study = study_of(
        "--grid=lr=0.1,0.2",
        "--ssl-epochs=4",
        "--epochs=1",
        inits="random,inpaint,colourise,random-epochs,extra-trees",
    )
    lines = forecast(study, 2).splitlines()
    # Two recipes of a minute and a half; pre-training takes four minutes and a half.
    assert "random/seed-0: 3.0 min" in lines
    assert "inpaint/seed-1: 7.5 min" in lines
    # Each recipe is lengthened by the four epochs.
    assert "random-epochs/seed-0: 11.0 min" in lines
    assert "extra-trees/seed-0: 0.0 min" in lines
    assert "colourise/seed-0: not applicable: the pictures are grey" in lines
    assert lines[-1].startswith("10 cells, 43 minutes of computing")
    # Seeds and recipes share a measurement.
    assert len(seen) == 3


@pytest.mark.slow
def test_a_measured_step_is_a_step_of_the_run():
    config = preset("tiny", "finetune")
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=1))
    found = measure(config)
    assert found.start > found.step > 0
    # 33 training pictures, 16 at a time.
    assert found.steps == 3
    assert found.seconds == pytest.approx(found.start + 3 * found.step)
