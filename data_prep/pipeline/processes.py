"""A function over many tasks, in processes, with few tasks under way at a time."""

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

# Frames that travel together: enough that the pipe costs little, few enough that the last ones end together.
CHUNK = 4
# Chunks under way for each worker: one in work, one waiting.
AHEAD = 2


def each(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """The results, in the order in which they get ready.

    Tasks are drawn as workers get free, so memory does not grow with their number. With one worker all is done in
    this process.

    Args:
        function: what pickle can send: a module's function, or a `functools.partial` of one.
        tasks: what to call it with.
        workers: how many processes.

    Raises:
        UserError: a worker was killed.
        Exception: what the function raises; tasks not begun are then dropped.
    """
    if workers == 1:
        prepare_opencv()
        yield from map(function, tasks)
        return
    # A forked process inherits locks of threads that it does not have; a spawned one starts clean.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        under_way: set[Future[list[Result]]] = set()
        for chunk in _chunks(tasks):
            under_way.add(_submit(pool, function, chunk))
            if len(under_way) >= AHEAD * workers:
                ready, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield from future.result()
        while under_way:
            ready, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in ready:
                yield from future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, as systems do when memory runs out; what is finished is kept. Repeat the "
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
    # It may start a worker, which inherits what is blocked: an interruption at the terminal is the parent's to handle.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_run, function, chunk)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(function: Callable[[Task], Result], chunk: tuple[Task, ...]) -> list[Result]:
    return [function(task) for task in chunk]


def _begin() -> None:
    """In a worker: one thread for OpenCV, and no life after the parent's."""
    prepare_opencv()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker holds both ends of its queue: when the parent is killed it would wait there for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
