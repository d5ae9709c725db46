"""Times calls alternately, in rounds, so that a machine that gets slower or busier meets all of them alike."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from memgan.runtime.threads import library_threads

Key = TypeVar("Key", bound=Hashable)


@dataclasses.dataclass(frozen=True)
class Spread:
    """Repeated readings of one quantity, in the order in which they were taken."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle reading, which a few disturbed ones do not move."""
        return float(np.median(self.rounds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the readings lies below the first, a quarter above the second."""
        low, high = np.percentile(self.rounds, (25, 75))
        return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long a call takes."""

    seconds: Spread
    cpu_seconds: Spread
    """Of all threads of this process."""

    @property
    def busy_cores(self) -> float:
        """Cores at work on average; clearly fewer than the threads used: the machine had other things to do."""
        return self.cpu_seconds.median / self.seconds.median


def measure(
    calls: Mapping[Key, Callable[[], Any]], *, rounds: int, warmup: int = 1, device: torch.device | None = None
) -> dict[Key, Timing]:
    """Time calls, each once per round: A, B, A, B, ...

    ``warmup`` rounds before that do not count: first calls choose kernels and fill caches. A CUDA ``device`` may still
    work after a call returns; it is waited for before and after each.
    """
    readings: dict[Key, list[tuple[float, float]]] = {key: [] for key in calls}
    for number in range(warmup + rounds):
        for key, call in calls.items():
            synchronize(device)
            start, cpu_start = time.perf_counter(), time.process_time()
            result = call()
            synchronize(device)
            reading = time.perf_counter() - start, time.process_time() - cpu_start
            del result  # freed outside the time measured, and before the next call needs the memory
            if number >= warmup:
                readings[key].append(reading)
    return {key: Timing(*(Spread(column) for column in zip(*rows, strict=True))) for key, rows in readings.items()}


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Run with so many threads of torch and OpenCV, on no more cores than that; ``None``: as it is.

    Some libraries (onnxruntime, BLAS) choose their threads themselves, and for good: confining the process to as many
    cores, where the system can, binds them too.
    """
    if threads is None:
        yield
        return
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    with library_threads(threads, threads):
        if cores is not None:
            os.sched_setaffinity(0, sorted(cores)[:threads])
        try:
            yield
        finally:
            if cores is not None:
                os.sched_setaffinity(0, cores)


def ratios(numerator: Timing, denominator: Timing) -> Spread:
    """Time of one call over that of another, round by round; both of one :func:`measure`."""
    pairs = zip(numerator.seconds.rounds, denominator.seconds.rounds, strict=True)
    return Spread(tuple(above / below for above, below in pairs))


def synchronize(device: torch.device | None) -> None:
    """Wait until a CUDA device has done all it was given; nothing elsewhere."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
