"""Counts the cores of this process, and sets how many threads torch and OpenCV use."""

import contextlib
import os
from collections.abc import Iterator

import cv2
import torch


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def library_threads(torch_threads: int, opencv_threads: int) -> Iterator[None]:
    """Run with so many threads of the two libraries; afterwards it is as it was before."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(opencv_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
