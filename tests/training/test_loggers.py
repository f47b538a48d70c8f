"""Metrics reach the loggers once, whatever happens to the run."""

import dataclasses
import sys
import types

import cv2
import numpy as np
import pytest

from jaxcaps.config import MachineConfig
from jaxcaps.errors import UserError
from jaxcaps.plan.config import identity
from jaxcaps.plan.flags import parse_config
from jaxcaps.training.loggers import LOGGERS, LoggedRun, Loggers, find_loggers
from jaxcaps.training.loggers.base import Logger, LoggerKind


def rows(*steps):
    return [{"step": step, "epoch": step / 10, "train/loss": 1 / step, "validation/auc": np.nan} for step in steps]


def log(folder, name, *, kept=(), step=0, new=(), picture=None, error=None):
    """One process of a run, which resumes with the rows `kept` and writes the rows of the steps `new`."""
    with Loggers(find_loggers([name]), LoggedRun(folder, {"lr": 0.1}, "lr: 0.1\n", rows(*kept), step)) as loggers:
        for row in rows(*new):
            loggers.row(row)
        if picture is not None:
            loggers.picture("confusion", step, picture)
        if error is not None:
            raise error


def shown(folder):
    """What TensorBoard shows of a folder: {tag: [steps]}, without what a later start purges."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found = {}
    # Files of one second have the same name but for its suffix, so read them in the order of their making.
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        data = file.read_bytes()
        while data:
            # TFRecord: length, its checksum, the record, its checksum.
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            if event.session_log.status == SessionLog.START:
                found = {tag: [step for step in steps if step < event.step] for tag, steps in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def test_tensorboard_shows_each_step_once_after_a_run_was_killed_and_resumed(tmp_path, monkeypatch):
    picture = tmp_path / "confusion.png"
    cv2.imwrite(str(picture), np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(KeyboardInterrupt):
        log(tmp_path, "tensorboard", new=(10, 20, 30), error=KeyboardInterrupt())
    # A second later, as the names of the files have seconds.
    monkeypatch.setattr("tensorboardX.event_file_writer.socket.gethostname", lambda: "later")
    log(tmp_path, "tensorboard", kept=(10, 20), step=20, new=(30, 40), picture=picture)
    found = shown(tmp_path)
    assert found["train/loss"] == found["epoch"] == [10, 20, 30, 40]
    assert found["confusion"] == [20]
    assert found["configuration/text_summary"] == [0]
    assert "validation/auc" not in found


def test_a_logger_that_joins_a_resumed_run_gets_the_earlier_rows(tmp_path):
    log(tmp_path, "tensorboard", kept=(10, 20), step=20, new=(30,))
    assert shown(tmp_path)["train/loss"] == [10, 20, 30]


def test_a_logger_that_was_left_out_for_a_while_gets_the_rows_between(tmp_path, monkeypatch):
    log(tmp_path, "tensorboard", new=(10, 20))
    monkeypatch.setattr("tensorboardX.event_file_writer.socket.gethostname", lambda: "later")
    # The rows of 30 and 40 were written without it.
    log(tmp_path, "tensorboard", kept=(10, 20, 30, 40), step=40, new=(50,))
    found = shown(tmp_path)
    assert found["train/loss"] == [10, 20, 30, 40, 50]
    assert found["configuration/text_summary"] == [0]


@pytest.fixture(params=["wandb", "trackio"])
def tracker(request, monkeypatch):
    """A module with the interface of W&B and trackio, which keeps all that it is given."""
    module = types.ModuleType(request.param)
    module.__spec__ = types.SimpleNamespace(origin="here")
    module.started, module.logged, module.ended = [], [], []
    run = types.SimpleNamespace(
        log=lambda values, step: module.logged.append((step, values)),
        finish=lambda **code: module.ended.append(code),
    )

    def init(**settings):
        module.started.append(settings)
        return run

    module.init, module.Image = init, lambda path: f"image {path}"
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


def test_a_tracker_goes_on_with_the_run_and_gets_no_step_twice(tracker, tmp_path):
    name = tracker.__name__
    with pytest.raises(KeyboardInterrupt):
        log(tmp_path, name, new=(10, 20, 30), error=KeyboardInterrupt())
    log(tmp_path, name, kept=(10, 20), step=20, new=(30, 40), picture=tmp_path / "confusion.png")
    # The picture of an earlier step comes with the last one.
    assert [step for step, _ in tracker.logged] == [10, 20, 30, 40, 40]
    assert tracker.logged[3] == (40, {"epoch": 4.0, "train/loss": 1 / 40})
    assert tracker.logged[4][1] == {"confusion": f"image {tmp_path}/confusion.png"}
    first, second = tracker.started
    assert first == second
    assert first["resume"] == "allow"
    assert first["config"] == {"lr": 0.1}
    assert tracker.ended == ([{"exit_code": 1}, {"exit_code": 0}] if name == "wandb" else [{}, {}])
    # A run that is made again in an emptied folder is another run.
    (tmp_path / f"{name}.json").unlink()
    log(tmp_path, name, new=(10,))
    assert tracker.started[2] != first
    assert tracker.logged[-1][0] == 10


def test_a_tracker_goes_on_with_a_run_that_was_killed_before_its_first_row(tracker, tmp_path):
    for _ in range(2):
        # A kill: nothing is closed.
        Loggers(find_loggers([tracker.__name__]), LoggedRun(tmp_path, {}, "", (), 0))
    first, second = tracker.started
    assert first == second


def test_a_package_that_is_not_installed_is_named_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--log=tensorboard needs tensorboardX: pip install tensorboardX, or"):
        find_loggers(["tensorboard"])


def test_a_folder_of_that_name_is_not_the_package(monkeypatch, tmp_path):
    """W&B makes a folder `wandb` where it runs."""
    (tmp_path / "unknown_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(LOGGERS, "find", lambda name, flag: LoggerKind("unknown_tracker", lambda run: None))
    with pytest.raises(UserError, match="needs unknown_tracker"):
        find_loggers(["tensorboard"])


class Failing(Logger):
    def __init__(self, run):
        pass

    def row(self, row):
        raise ConnectionError("no route to host")

    def picture(self, name, step, file): ...

    def close(self, *, failed):
        raise AssertionError("it was dropped")


def test_a_logger_that_fails_is_dropped_and_the_others_go_on(tmp_path, caplog):
    run = LoggedRun(tmp_path, {}, "", (), 0)
    kinds = {"broken": LoggerKind("", Failing), **find_loggers(["tensorboard"])}
    with Loggers(kinds, run) as loggers:
        for row in rows(10, 20):
            loggers.row(row)
    assert shown(tmp_path)["train/loss"] == [10, 20]
    assert [record.getMessage() for record in caplog.records] == [
        "--log=broken failed and is dropped: ConnectionError: no route to host"
    ]


def test_a_logger_that_cannot_start_is_an_error_of_the_user(tmp_path):
    def refuse(run):
        raise PermissionError("log in first")

    closed = []

    class Opened(Failing):
        def close(self, *, failed):
            closed.append(failed)

    kinds = {"opened": LoggerKind("", Opened), "broken": LoggerKind("", refuse)}
    with pytest.raises(UserError, match="--log=broken: PermissionError: log in first"):
        Loggers(kinds, LoggedRun(tmp_path, {}, "", (), 0))
    assert closed == [True]


def test_the_flag_names_loggers_and_is_no_part_of_a_runs_identity():
    config = parse_config(["--preset=tiny", "--log=wandb,tensorboard,wandb"])
    assert config.machine.loggers() == ("wandb", "tensorboard")
    assert dataclasses.replace(config.machine, log="none").loggers() == ()
    assert identity(config) == identity(parse_config(["--preset=tiny", "--log=none"]))
    with pytest.raises(UserError, match=r"--log=tensorbord: unknown logger.*tensorboard"):
        MachineConfig(log="tensorbord").check()
