"""What a run of the benchmark found."""

import dataclasses
from typing import Any

from memgan.benchmark.memory import PeakMemory
from memgan.benchmark.operation_count import Work
from memgan.benchmark.roofline import Floor, MachinePeak
from memgan.benchmark.scaling import Growth
from memgan.benchmark.timing import Spread, Timing


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One stage of one restorer, or one network, on one device."""

    stage: str
    """One of :data:`memgan.benchmark.settings.STAGES`."""
    network: str
    """``memgan``, or the name of a contender."""
    device: str
    backend: str
    items: int
    """Faces or pictures per call."""
    unit: str
    """What the items are: ``faces`` or ``pictures``."""
    timing: Timing
    memory: PeakMemory | None = None
    """Of one call in a process of its own, if it was asked for."""

    @property
    def per_second(self) -> float:
        """Items per second at the median."""
        return self.items / self.timing.seconds.median

    def to_dict(self) -> dict[str, Any]:
        """Everything, in seconds and bytes."""
        return {
            **{field: getattr(self, field) for field in ("stage", "network", "device", "backend", "items", "unit")},
            "seconds": self.timing.seconds.to_dict(),
            "cpu_seconds": self.timing.cpu_seconds.to_dict(),
            "busy_cores": self.timing.busy_cores,
            "per_second": self.per_second,
            "memory": None if self.memory is None else self.memory.to_dict(),
        }


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How many times as long a network takes as the first one, round by round."""

    network: str
    backend: str
    device: str
    batch: int
    ratio: Spread


@dataclasses.dataclass(frozen=True)
class NetworkCost:
    """Size, work and distance from the floor of one network."""

    network: str
    device: str
    work: Work
    floor: Floor | None
    """Only where the machine's peak was measured."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single operations."""
        counts = ("num_parameters", "multiply_adds", "least_bytes", "moved_bytes")
        return {
            "network": self.network,
            "device": self.device,
            **{name: getattr(self.work, name) for name in counts},
            "floor": None if self.floor is None else dataclasses.asdict(self.floor),
            "share_of_peak": None if self.floor is None else self.floor.share,
        }


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """All figures of a run with what they belong to; lists are in the order of measuring."""

    machine: dict[str, Any]
    options: dict[str, Any]
    picture: dict[str, Any]
    """Where it is from, its size, its faces, and how many of those the detector finds; empty if none was needed."""
    measurements: list[Measurement]
    comparisons: list[Comparison]
    costs: list[NetworkCost]
    peaks: dict[str, MachinePeak]
    """By device."""
    growth: Growth | None
    notes: list[str]
    """What was left out, and why."""

    def to_dict(self) -> dict[str, Any]:
        """The report for :func:`memgan.runtime.atomic_file.write_json`: seconds, bytes, floating-point operations."""
        return {
            "machine": self.machine,
            "options": self.options,
            "picture": self.picture,
            "measurements": [one.to_dict() for one in self.measurements],
            "comparisons": [{**dataclasses.asdict(one), "ratio": one.ratio.to_dict()} for one in self.comparisons],
            "costs": [one.to_dict() for one in self.costs],
            "peaks": {device: dataclasses.asdict(peak) for device, peak in self.peaks.items()},
            "growth": None if self.growth is None else self.growth.to_dict(),
            "notes": self.notes,
        }
