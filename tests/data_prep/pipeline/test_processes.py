import os
from functools import partial

import pytest

from data_prep.errors import UserError
from data_prep.pipeline.processes import AHEAD, CHUNK, each


def square(number):
    return number**2


def fail_at(number, bad):
    if number == bad:
        raise OSError(28, "No space left on device")
    return number


def die_at(number, bad):
    if number == bad:
        os._exit(9)
    return number


def pid(_):
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_has_its_result(workers):
    assert sorted(each(square, iter(range(21)), workers)) == [number**2 for number in range(21)]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_task_is_no_result(workers):
    assert list(each(square, [], workers)) == []


def test_the_work_is_done_in_other_processes():
    assert os.getpid() not in set(each(pid, range(8 * CHUNK), 2))


def test_tasks_are_drawn_only_as_workers_get_free():
    drawn = []

    def tasks():
        for number in range(1000):
            drawn.append(number)
            yield number

    results = each(square, tasks(), 2)
    next(results)
    assert len(drawn) <= (2 * AHEAD + 1) * CHUNK
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_workers_error_is_raised_here(workers):
    with pytest.raises(OSError, match="No space left"):
        list(each(partial(fail_at, bad=5), range(40), workers))


def test_a_worker_that_is_killed_is_told():
    with pytest.raises(UserError, match=r"a worker process was killed.*--workers"):
        list(each(partial(die_at, bad=5), range(40), 2))
