"""Counts the cores of this process, and sets how many threads torch and OpenCV use."""

import contextlib
import functools
import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import torch

from memgan.errors import ConfigError
from memgan.runtime.control_groups import control_groups

Value = TypeVar("Value")

_loaded_in = os.getpid()
_forked_at_work = False
_ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores() -> int:
    """Cores that this process may use: those that it may run on, or fewer if its control group has a quota of time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def is_forked() -> bool:
    """Whether this process is a fork of the one that loaded memgan: the libraries' threads are gone."""
    return os.getpid() != _loaded_in


def check_fork() -> None:
    """Refuse to work in a fork made while another thread was at work: a lock it held then may never be released.

    Raises:
        ConfigError: with what to do instead.
    """
    if _forked_at_work:
        raise ConfigError(
            "this process was forked while a restoration was running in its parent; fork when none is, or start "
            "processes by 'spawn' (multiprocessing.get_context('spawn'))."
        )


def default_threads() -> int:
    """Number of threads for torch where none is given.

    As many as torch itself chooses (``OMP_NUM_THREADS``, the cores that the process may run on, what the program has
    set), but no more than :func:`usable_cores`. One in worker processes, which share the cores with others: forks, and
    children of :mod:`multiprocessing` unless ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS`` is set.
    """
    is_told = any(os.environ.get(name) for name in _ENVIRONMENT)
    if is_forked() or (multiprocessing.parent_process() is not None and not is_told):
        return 1
    return min(torch.get_num_threads(), usable_cores())


class ProcessSetting(Generic[Value]):
    """A setting of the whole process that several threads change for a time: it returns when the last of them ends.

    What somebody else has set meanwhile stays.
    """

    def __init__(self, read: Callable[[], Value], write: Callable[[Value], object]) -> None:
        self._read, self._write = read, write
        self._lock = threading.Lock()
        self.holders = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    @contextlib.contextmanager
    def held(self, value: Value) -> Iterator[None]:
        """Run with this value, or that of a thread that began later."""
        with self._lock:
            if self.holders == 0:
                self._before = self._read()
            self.holders += 1
            if value != self._read():
                self._write(value)
            self._last = value
        try:
            yield
        finally:
            with self._lock:
                self.holders -= 1
                if self.holders == 0 and self._before != self._last == self._read():
                    self._write(self._before)

    def _after_fork(self) -> None:
        global _forked_at_work
        _forked_at_work = _forked_at_work or self.holders > 0
        self._lock, self.holders = threading.Lock(), 0


_opencv_threads = ProcessSetting(cv2.getNumThreads, cv2.setNumThreads)


@contextlib.contextmanager
def library_threads(torch_threads: int, opencv_threads: int) -> Iterator[None]:
    """Run with so many threads of the two libraries; afterwards it is as it was before.

    Several threads may do so at the same time. torch's number is each thread's own, OpenCV's that of the process: the
    last one that begins says it. In a fork torch has one thread, whatever is asked for: its others did not come along,
    and it would wait for them. OpenCV does without them, but waits for them when its number is changed.
    """
    if is_forked():
        torch_threads, opencv_threads = 1, cv2.getNumThreads()
    before = torch.get_num_threads()
    if torch_threads != before:
        torch.set_num_threads(torch_threads)
    try:
        with _opencv_threads.held(opencv_threads):
            yield
    finally:
        if torch_threads != before and not is_forked():
            torch.set_num_threads(before)


@functools.cache
def _quota(root: Path = Path("/")) -> float:
    """Cores' worth of time that the control groups of this process allow; infinite if they do not say."""
    groups = control_groups("cpu", root / "sys/fs/cgroup", root / "proc/self/cgroup")
    return min(map(_limit, groups), default=math.inf)


def _limit(group: Path) -> float:
    """Cores' worth of time of one control group, of either version."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):  # the file is missing, or says "max"
            quota, period = (int(number) for name in names for number in (group / name).read_text().split())
            if quota > 0 and period > 0:
                return quota / period
    return math.inf
