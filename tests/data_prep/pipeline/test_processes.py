import os
from functools import partial

import pytest

from data_prep.errors import UserError
from data_prep.pipeline.processes import AHEAD, CHUNK, each


def fail_at(number, bad):
    if number == bad:
        raise OSError(28, "No space left on device")
    return number


def die_at(number, bad):
    if number == bad:
        os._exit(9)
    return number


def square_and_pid(number):
    return number**2, os.getpid()


def test_one_worker_is_this_process():
    assert list(each(square_and_pid, range(9), 1)) == [(number**2, os.getpid()) for number in range(9)]


def test_two_workers_are_other_processes_and_draw_tasks_only_as_they_become_free():
    drawn = []

    def tasks():
        for number in range(100):
            drawn.append(number)
            yield number

    results = each(square_and_pid, tasks(), 2)
    found = [next(results)]
    assert len(drawn) <= (2 * AHEAD + 1) * CHUNK
    found += results
    assert sorted(number for number, _ in found) == [number**2 for number in range(100)]
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.parametrize("workers", [1, 2])
def test_no_task_gives_no_result(workers):
    assert list(each(square_and_pid, [], workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_workers_error_is_raised_here(workers):
    with pytest.raises(OSError, match="No space left"):
        list(each(partial(fail_at, bad=5), range(40), workers))


def test_a_worker_that_is_killed_is_told():
    with pytest.raises(UserError, match=r"a worker process was killed.*--workers"):
        list(each(partial(die_at, bad=5), range(40), 2))
