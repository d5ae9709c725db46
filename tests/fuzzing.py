"""Tries many odd inputs: anything but the library's own errors fails, and so do hangs and memory that grows."""

import faulthandler
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from memgan.errors import MemGANError

CORPUS = Path(__file__).with_name("corpus")
"""A folder per fuzzer of inputs that once failed; every run tries them first."""
HANG_S = 5.0
"""An input may not take more of a processor's time."""
DEAD_S = 300.0
"""After so long the whole process ends, with a traceback: nothing else stops a library that hangs."""
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
    cases: int = 60,
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
        began = time.process_time()
        faulthandler.dump_traceback_later(DEAD_S, exit=True)
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
        if (took := time.process_time() - began) > HANG_S:
            problem = f"takes {took:.1f} s"
        if count > _WARM_UP and (peak_mb := _resident_mb("VmHWM") - start_mb) > PEAK_MB + GROWTH_MB:
            problem = f"takes {peak_mb:.0f} MB"
        if problem:
            raise AssertionError(f"{_kept(name, data)} ({len(data)} bytes): {problem[:500]}")
        count += 1
    growth_mb = _resident_mb("VmRSS") - start_mb if count > _WARM_UP else 0
    assert growth_mb < GROWTH_MB, f"{name}: {growth_mb:.0f} MB more after {count} inputs"
    return count


def odd_value(generator: random.Random) -> Any:
    """A value as JSON has them, where another one is expected."""
    number = generator.choice([0, 1, 2, 7, 8, 255, 256, 4096, 2**31, 2**32, 2**53, 2**63, 2**64, 10**30])
    text = generator.choice(["", "a", "0", "\0", "..", "/etc/passwd", "\ud83d\ude00", "F32", "BOOL", "x" * 3000, "1e9"])
    return generator.choice(
        [number, -number, number / 3, text, [number] * 3, [], {}, {text: number}, None, True, False]
    )


def changed(generator: random.Random, value: Any) -> Any:
    """JSON with one part exchanged, left out, doubled or nested."""
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(list(value))
        rest = {name: one for name, one in value.items() if name != key}
        if (kind := generator.random()) < 0.8:
            return {**rest, key: changed(generator, value[key])}
        return rest if kind < 0.9 else {**rest, str(odd_value(generator)): value[key]}
    if isinstance(value, list) and value and generator.random() < 0.8:
        at = generator.randrange(len(value))
        part = generator.choice([[], [value[at]] * 2, [changed(generator, value[at])]])
        return [*value[:at], *part, *value[at + 1 :]]
    return odd_value(generator)


def damaged(generator: random.Random, data: bytes) -> bytes:
    """Bytes with some of them changed, cut out, doubled or put in, or with numbers in other places."""
    content = bytearray(data)
    for _ in range(generator.choice([0, 1, 1, 1, 2, 4, 16])):
        at, width = generator.randrange(len(content) + 1), generator.choice([1, 1, 2, 4, 8, 64])
        new = generator.choice(
            [
                generator.randbytes(width),
                b"",
                content[at : at + width] * 2,
                generator.choice([0, 1, 127, 128, 2 ** (8 * width) - 1]).to_bytes(width, "little"),
            ]
        )
        content[at : at + width] = new
    if generator.random() < 0.1:
        del content[generator.randrange(len(content) + 1) :]
    return bytes(content)


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
