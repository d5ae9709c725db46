"""Works on several pictures at the same time, without more threads at work than there are cores.

The jobs are threads, not processes: decoders, OpenCV and torch let other threads run, and share one set of weights.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2
import torch

from memgan.runtime.threads import library_threads, usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_AUTOMATIC = 4  # jobs: more would gain little, since torch and OpenCV use several cores for one, and need memory


def number_of_jobs(wanted: int, num_inputs: int) -> int:
    """How many jobs to run; 0 wanted: one per core, at most four. There is never one without an input."""
    jobs = min(usable_cores(), _MOST_AUTOMATIC) if wanted == 0 else wanted
    return max(1, min(jobs, num_inputs))


@contextlib.contextmanager
def cores_shared(jobs: int) -> Iterator[None]:
    """Give torch and OpenCV, in each of ``jobs`` threads, its share of the cores; afterwards it is as it was before.

    Whatever takes its number of threads from torch when it is made should be made inside.
    """
    threads = torch.get_num_threads(), cv2.getNumThreads()
    if jobs > 1:
        share = max(1, usable_cores() // jobs)
        threads = min(threads[0], share), min(threads[1], share)
    with library_threads(*threads):
        yield


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
