"""Measures the memory of this process and of CUDA devices, and the peak that one call needs in a separate process."""

import contextlib
import ctypes
import dataclasses
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from memgan.benchmark.timing import limited_threads, synchronize
from memgan.errors import MemGANError

Result = TypeVar("Result")
# What other packages print is not the result.
_CHILD = """
import os, pickle, sys
result_file = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
function, arguments = pickle.load(sys.stdin.buffer)
pickle.dump(function(*arguments), result_file)
"""


@dataclasses.dataclass(frozen=True)
class PeakMemory:
    """What is resident, in bytes; ``None`` where the system does not tell."""

    libraries: int | None
    """When Python, torch and memgan are imported, and nothing is loaded."""
    loaded: int | None
    """Before the call: weights and the picture besides."""
    call: int | None
    """At most during the call."""
    process: int | None
    """At most in the whole life of the process; ``None`` too where preparing the call takes work that it does not."""
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


def resident_bytes(field: str = "VmRSS") -> int | None:
    """Resident memory of this process now; ``None`` where the system does not tell (only Linux does)."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def peak_resident_bytes() -> int | None:
    """The most that this process had resident since it started, or since :func:`reset_peak`."""
    # Not getrusage on Linux: its peak is at least what the *parent* had when it started this process.
    peak = resident_bytes("VmHWM")
    if peak is None and sys.platform == "darwin":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes here
    return peak


def reset_peak() -> None:
    """Let :func:`peak_resident_bytes` forget what was before, where the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # see proc(5)


def measure_peak(
    prepare: Callable[[], Callable[[], Any]], *, device: torch.device | None = None, threads: int | None = None
) -> PeakMemory:
    """Peak memory of the call that ``prepare`` returns, measured in a new process; what ``prepare`` does is loading.

    ``prepare`` is a function of a module, or a partial one. The memory of a CUDA ``device`` counts too.

    Raises:
        MemGANError: if the process fails.
    """
    return call_in_subprocess(_peak_here, prepare, device, threads)


def _peak_here(
    prepare: Callable[[], Callable[[], Any]], device: torch.device | None, threads: int | None
) -> PeakMemory:
    on_cuda = device is not None and device.type == "cuda"
    with limited_threads(threads):
        _return_freed_memory()
        libraries = resident_bytes()
        call = prepare()
        _return_freed_memory()
        while_loading = peak_resident_bytes()
        reset_peak()
        loaded = resident_bytes()
        synchronize(device)
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(device)
        call()
        synchronize(device)
        peak = peak_resident_bytes()
    whole = None if peak is None or while_loading is None else max(peak, while_loading)
    return PeakMemory(libraries, loaded, peak, whole, torch.cuda.max_memory_allocated(device) if on_cuda else None)


def _return_freed_memory() -> None:
    """Give freed memory back to the system, so that a call that takes it again is seen to."""
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)  # of glibc


def call_in_subprocess(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function of a module in a new Python process, so that nothing done before is still in its memory.

    Function, arguments and result are pickled. Unlike with :mod:`multiprocessing`, the caller's script is not imported.

    Raises:
        MemGANError: if the process fails; with what it wrote last.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=pickle.dumps((function, arguments)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
    )
    if done.returncode != 0:
        why = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        name = f"{function.__module__}.{function.__name__}"
        raise MemGANError(f"{name} failed in a separate process ({why}); run it with the same options alone.")
    return pickle.loads(done.stdout)
