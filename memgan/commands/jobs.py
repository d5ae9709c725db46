"""Several pictures at the same time, without more threads at work than there are cores.

The jobs are threads, not processes: nearly all of their time is spent in decoders, OpenCV and torch, which let other
threads run meanwhile; and one set of weights, loaded once, serves them all.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2
import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_AUTOMATIC = 4  # jobs: more would gain little, since torch and OpenCV use several cores for one, and need memory


def number_of_jobs(wanted: int, num_inputs: int) -> int:
    """How many jobs to run; 0 wanted: one per core, at most four. There is never one without an input."""
    jobs = min(_num_cores(), _MOST_AUTOMATIC) if wanted == 0 else wanted
    return max(1, min(jobs, num_inputs))


@contextlib.contextmanager
def cores_shared(jobs: int) -> Iterator[None]:
    """Give torch and OpenCV, in each of ``jobs`` threads, its share of the cores; afterwards it is as it was before.

    Whatever takes its number of threads from torch when it is made should be made inside.
    """
    before = torch.get_num_threads(), cv2.getNumThreads()
    if jobs > 1:
        share = max(1, _num_cores() // jobs)
        torch.set_num_threads(min(before[0], share))
        cv2.setNumThreads(min(before[1], share))
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def in_order(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """``work`` of every item, ``jobs`` at the same time, in the order of the items.

    Only twice as many are begun or done as there are jobs, so that results do not pile up behind a slow one. After an
    exception, an interruption, or when the result is closed, what has begun is completed and nothing else is begun.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="memgan-job")
    running: deque[Future[Result]] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) == 2 * jobs:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
