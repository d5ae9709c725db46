"""Tries many odd inputs: anything but the library's own errors fails, and so do hangs and memory that grows."""

import faulthandler
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from memgan.errors import MemGANError

CORPUS = Path(__file__).with_name("corpus")
"""A folder per fuzzer of inputs that once failed; every run tries them first."""
HANG_S = 5.0
"""An input may not take longer; after ten times as long the whole process ends with a traceback."""
GROWTH_MB = 100
"""What the process may keep after all inputs, without the first ones, which load libraries."""
PEAK_MB = 400
"""What one input may take above that."""
_WARM_UP = 30


def fuzz(
    name: str,
    make: Callable[[random.Random], bytes],
    attempt: Callable[[bytes], object],
    seconds: float | None,
    *,
    cases: int = 200,
) -> int:
    """Give ``attempt`` the inputs of the corpus and then those that ``make`` draws; returns how many.

    An input that fails is kept in the corpus, so that the next run tries it first.

    Args:
        name: folder of the corpus.
        make: draws an input; the same generator state gives the same input.
        attempt: uses the input; it may raise :class:`MemGANError` only.
        seconds: the fixture ``fuzz_seconds``.
        cases: how many are drawn if ``seconds`` is ``None``.
    """
    count, start_mb = 0, 0.0
    for data in _inputs(name, make, seconds, cases):
        if count == _WARM_UP:
            start_mb = _resident_mb("VmRSS")
            _forget_peak()
        began = time.monotonic()
        faulthandler.dump_traceback_later(10 * HANG_S, exit=True)
        try:
            attempt(data)
        except MemGANError as error:
            problem = "" if len(str(error)) > 20 else f"says only {str(error)!r}"
        except (Exception, RecursionError) as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            problem = ""
        finally:
            faulthandler.cancel_dump_traceback_later()
        if (took := time.monotonic() - began) > HANG_S:
            problem = f"takes {took:.1f} s"
        if count > _WARM_UP and (peak_mb := _resident_mb("VmHWM") - start_mb) > PEAK_MB + GROWTH_MB:
            problem = f"takes {peak_mb:.0f} MB"
        if problem:
            raise AssertionError(f"{_kept(name, data)} ({len(data)} bytes): {problem[:500]}")
        count += 1
    growth_mb = _resident_mb("VmRSS") - start_mb if count > _WARM_UP else 0
    assert growth_mb < GROWTH_MB, f"{name}: {growth_mb:.0f} MB more after {count} inputs"
    return count


def _inputs(name: str, make: Callable[[random.Random], bytes], seconds: float | None, cases: int) -> Iterator[bytes]:
    for file in sorted((CORPUS / name).glob("*")):
        yield file.read_bytes()
    if seconds is None:
        for seed in range(cases):
            yield make(random.Random(seed))
        return
    generator, end = random.Random(time.time_ns()), time.monotonic() + seconds
    while time.monotonic() < end:
        yield make(generator)


def _kept(name: str, data: bytes) -> Path:
    file = CORPUS / name / f"{random.Random(data).getrandbits(48):012x}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def _resident_mb(field: str) -> float:
    """Memory of this process as Linux states it; 0 elsewhere, where memory is not watched."""
    if sys.platform != "linux":
        return 0.0
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(field))


def _forget_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
