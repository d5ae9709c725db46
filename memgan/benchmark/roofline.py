"""Measures how fast this machine is at best, and the time that a network's operations take at that speed."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from memgan.benchmark.timing import measure
from memgan.network.cost import OperationCount

_REPEATS = 7
_COPY_BYTES = 2**28  # beyond any cache
_MATRIX_SIDE = {"cpu": 1536, "cuda": 8192}
_IMAGE = {"cpu": (4, 128, 128), "cuda": (32, 256, 128)}  # (batch, channels, side) of the convolution


@dataclasses.dataclass(frozen=True)
class MachinePeak:
    """Best of several runs each, with the threads and in the precision of the networks."""

    matrix_flops: float
    """Floating-point operations per second of a square matrix product."""
    convolution_flops: float
    """The same of a 3x3 convolution, counted directly: a faster algorithm shows as more."""
    copy_bytes: float
    """Read and written per second when a tensor that fits no cache is copied."""

    @property
    def flops(self) -> float:
        """The better of the two."""
        return max(self.matrix_flops, self.convolution_flops)


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The time below which a network cannot run on this machine, and how near it is; all for one face."""

    seconds: float
    """Its multiply-adds at the peak, or its weights and images at the speed of memory, whichever takes longer."""
    unfused_seconds: float
    """The same for each operation of torch by itself, with what it reads and writes, summed up. Caches can beat it."""
    measured_seconds: float
    flops: float
    """Achieved floating-point operations per second, element-wise work not counted."""

    @property
    def share(self) -> float:
        """Of the measured peak that is reached, 0 to 1."""
        return self.seconds / self.measured_seconds


def measure_machine(device: torch.device, dtype: torch.dtype = torch.float32) -> MachinePeak:
    """Measure the peaks of a device, in a few seconds."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    side = _MATRIX_SIDE[kind]
    batch, channels, pixels = _IMAGE[kind]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    image = torch.randn(batch, channels, pixels, pixels, device=device, dtype=dtype)
    kernel = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
    source = torch.ones(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    calls: dict[str, Callable[[], Any]] = {
        "matrix": lambda: left @ right,
        "convolution": lambda: torch.nn.functional.conv2d(image, kernel, padding=1),
        "copy": lambda: target.copy_(source),
    }
    timings = measure(calls, rounds=_REPEATS, device=device)
    best = {name: min(timing.seconds.rounds) for name, timing in timings.items()}
    return MachinePeak(
        matrix_flops=2 * side**3 / best["matrix"],
        convolution_flops=2 * 9 * channels**2 * batch * pixels**2 / best["convolution"],
        copy_bytes=2 * _COPY_BYTES / best["copy"],
    )


def roofline_of(count: OperationCount, peak: MachinePeak, measured_seconds: float) -> Roofline:
    """Set a network's time for one face against what the machine's peaks allow."""
    flops = 2 * count.multiply_adds
    return Roofline(
        seconds=max(flops / peak.flops, count.least_bytes / peak.copy_bytes),
        unfused_seconds=sum(max(o.flops / peak.flops, o.moved_bytes / peak.copy_bytes) for o in count.operations),
        measured_seconds=measured_seconds,
        flops=flops / measured_seconds,
    )
