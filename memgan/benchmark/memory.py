"""Measures the memory of this process and of CUDA devices, and the peak that one call needs in a process of its own."""

import ctypes
import dataclasses
import gc
import sys
from pathlib import Path
from typing import Any

import torch

from memgan.benchmark.machine import limited_threads
from memgan.benchmark.subprocess_call import call_in_subprocess, import_function
from memgan.benchmark.timing import synchronize

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # see proc(5)


@dataclasses.dataclass(frozen=True)
class PeakMemory:
    """What a call needs at most, in bytes; ``None`` where the system does not tell."""

    libraries: int | None
    """Resident when Python, torch and memgan are imported, and nothing is loaded."""
    loaded: int | None
    """Resident before the call: weights and the picture besides."""
    call: int | None
    """Resident at most during the call."""
    process: int | None
    """Resident at most in the whole life of the process, loading included; ``None`` too where preparing the call takes
    work that the call itself does not."""
    device: int | None
    """Allocated at most on the CUDA device during the call, weights included."""

    @property
    def own(self) -> int | None:
        """The peak without the libraries, whose size is a matter of the build of torch."""
        return None if self.process is None or self.libraries is None else self.process - self.libraries

    @property
    def beyond_loaded(self) -> int | None:
        """The peak of the call without what was loaded before it."""
        return None if self.call is None or self.loaded is None else max(self.call - self.loaded, 0)


def resident_bytes() -> int | None:
    """Resident memory of this process now; ``None`` where the system does not tell (only Linux does)."""
    return _status("VmRSS")


def peak_resident_bytes() -> int | None:
    """The most that this process had resident since it started, or since :func:`reset_peak`."""
    # Not getrusage on Linux: its peak is at least what the *parent* had when it started this process.
    peak = _status("VmHWM")
    if peak is None and sys.platform == "darwin":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes here
    return peak


def reset_peak() -> None:
    """Let :func:`peak_resident_bytes` forget what was before, where the system allows it."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, "ascii")
    except OSError:
        return


def _release_freed_memory() -> None:
    """Return freed memory to the system, so that a call that takes it again is seen to."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
        if trim is not None:
            trim(0)


def _status(field: str) -> int | None:
    try:
        lines = _STATUS.read_text("ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def measure_peak(
    function: str, arguments: dict[str, Any], *, device: str | None = None, threads: int | None = None
) -> PeakMemory:
    """Peak memory of one call, measured in a new process.

    Args:
        function: ``module:function`` that returns the call to measure: whatever it does itself counts as loading.
        arguments: its keyword arguments, passed on as JSON.
        device: a CUDA device whose memory counts too.
        threads: see :func:`~memgan.benchmark.machine.limited_threads`.

    Raises:
        MemGANError: if the process fails.
    """
    given = {"function": function, "arguments": arguments, "device": device, "threads": threads}
    return PeakMemory(**call_in_subprocess("memgan.benchmark.memory:peak_here", given))


def peak_here(
    function: str, arguments: dict[str, Any], device: str | None, threads: int | None
) -> dict[str, int | None]:
    """:func:`measure_peak` in this process, which should have done nothing else before; the fields of its result."""
    target = torch.device(device) if device is not None and device.startswith("cuda") else None
    with limited_threads(threads):
        prepare = import_function(function)
        libraries = resident_bytes()
        call = prepare(**arguments)
        _release_freed_memory()
        while_loading = peak_resident_bytes()
        reset_peak()
        loaded = resident_bytes()
        if target is not None:
            synchronize(target)
            torch.cuda.reset_peak_memory_stats(target)
        call()
        synchronize(target)
        peak = peak_resident_bytes()
    whole = None if peak is None or while_loading is None else max(peak, while_loading)
    on_device = None if target is None else torch.cuda.max_memory_allocated(target)
    return dataclasses.asdict(PeakMemory(libraries, loaded, peak, whole, on_device))
