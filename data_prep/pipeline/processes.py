"""Calls a function on many tasks in processes, with few tasks in flight at a time."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from data_prep.errors import UserError
from data_prep.images.decoding import prepare_opencv

Task = TypeVar("Task")
Result = TypeVar("Result")

# Frames that are sent together: enough that the pipe costs little, few enough that all workers finish together.
CHUNK = 4
# Chunks in flight for each worker: one at work, one waiting.
AHEAD = 2


def each(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Yields the results in the order in which they are ready.

    Tasks are drawn as workers become free, so memory does not grow with their number. With one worker everything runs
    in this process.

    Args:
        function: a function that pickle can send: of a module, or a `functools.partial` of one.
        tasks: its arguments.
        workers: the number of processes.

    Raises:
        UserError: a worker was killed.
        Exception: whatever the function raises; waiting tasks are then dropped.
    """
    if workers == 1:
        prepare_opencv()
        yield from map(function, tasks)
        return
    # A forked process inherits the locks of threads that it does not have. A spawned one starts clean.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    chunks, in_flight = _chunks(tasks), set[Future[list[Result]]]()
    try:
        while True:
            for chunk in itertools.islice(chunks, AHEAD * workers - len(in_flight)):
                in_flight.add(_submit(pool, function, chunk))
            if not in_flight:
                return
            ready, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
            for future in ready:
                yield from future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, probably because memory ran out. Finished frames are kept: repeat the "
            "command with fewer --workers or a smaller --max-pixels"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(tasks: Iterable[Task]) -> Iterator[tuple[Task, ...]]:
    iterator = iter(tasks)
    while chunk := tuple(itertools.islice(iterator, CHUNK)):
        yield chunk


def _submit(
    pool: ProcessPoolExecutor, function: Callable[[Task], Result], chunk: tuple[Task, ...]
) -> Future[list[Result]]:
    # This may start a worker, which inherits the blocked signals: the parent handles an interruption at the terminal.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_run, function, chunk)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(function: Callable[[Task], Result], chunk: tuple[Task, ...]) -> list[Result]:
    return [function(task) for task in chunk]


def _begin() -> None:
    """Prepares a worker: one thread for OpenCV, and an end when the parent ends."""
    prepare_opencv()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker holds both ends of its queue. If the parent is killed, it would wait there for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
