"""What a run tells its callbacks, and what it returns."""

import dataclasses

import pytest

from jaxcaps.errors import UserError
from jaxcaps.plan.flags import configure
from jaxcaps.training import Callback, train
from jaxcaps.training.folder import is_finished


class Recorder(Callback):
    """Keeps what it is told; raises at the row of a step."""

    def __init__(self, fails_at=None):
        self.rows, self.evaluated, self.ends, self.fails_at = [], [], [], fails_at

    def on_row(self, row):
        self.rows.append(row)
        if row["step"] == self.fails_at:
            raise RuntimeError("enough")

    def on_evaluation(self, row, network):
        self.evaluated.append((row, network))

    def on_end(self, finished):
        self.ends.append((finished, is_finished(finished.folder)))


@pytest.mark.slow
def test_callbacks_hear_of_rows_evaluations_and_the_end(tmp_path):
    tiny = dict(stage="finetune", preset="tiny", extra_convs=3, synthetic_count=60, epochs=2, checkpoint_minutes=0)
    config = configure(**tiny, out=tmp_path / "run")
    failing = Recorder(fails_at=3)
    with pytest.raises(RuntimeError, match="enough"):
        train(config, [failing])
    assert [row["step"] for row in failing.rows] == [3]
    assert not failing.ends

    # The row at which it failed is not repeated.
    recorder = Recorder()
    result = train(config, [recorder])
    assert [row["step"] for row in recorder.rows] == [5]
    assert [row["step"] for row in result.rows] == [3, 5]
    assert result.rows[1] == recorder.rows[0]
    ((row, network),) = recorder.evaluated
    assert row["validation/accuracy"] == result.rows[1]["validation/accuracy"]
    assert network.class_capsules.weights.shape[1] == 3
    ((finished, was_finished),) = recorder.ends
    assert was_finished
    assert finished.folder == result.folder == tmp_path / "run"
    assert 0 <= result.metrics["balanced_accuracy"] <= 1

    # A finished run is returned at once.
    again = Recorder()
    assert train(config, [again]) == result
    assert not again.rows + again.ends


def test_train_checks_a_configuration_that_python_changed(tmp_path):
    config = configure(preset="tiny", out=tmp_path / "run")
    with pytest.raises(UserError, match="--lr=-1"):
        train(dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=-1.0)))
