"""Holds what a run of the benchmark found."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from memgan.benchmark.memory import PeakMemory
from memgan.benchmark.roofline import MachinePeak, Roofline
from memgan.benchmark.scaling import Scaling
from memgan.benchmark.timing import Spread, Timing


@dataclasses.dataclass(frozen=True)
class Measurement(Timing):
    """One stage of one restorer, or one network, on one device."""

    stage: str
    """One of :data:`memgan.benchmark.settings.STAGES`."""
    network: str
    """``memgan``, or the name of a baseline."""
    device: str
    backend: str
    items: int
    """Faces or pictures per call."""
    unit: str
    """What the items are: ``faces`` or ``pictures``."""
    memory: PeakMemory | None = None
    """Of one call in a process of its own, if it was asked for."""
    ratio: Spread | None = None
    """Of another network: how many times as long it takes as the first one, round by round."""

    @property
    def per_second(self) -> float:
        """Items per second at the median."""
        return self.items / self.seconds.median


@dataclasses.dataclass(frozen=True)
class NetworkCost:
    """Size and operations of one network for one face, and its distance from the roofline."""

    network: str
    device: str
    num_parameters: int
    multiply_adds: int
    least_bytes: int
    moved_bytes: int
    """All as in :class:`memgan.network.cost.OperationCount`."""
    roofline: Roofline | None
    """Only where the machine's peak was measured."""


@dataclasses.dataclass
class BenchmarkReport:
    """All figures of a run with what they belong to; lists are in the order of measuring."""

    machine: dict[str, Any]
    options: dict[str, Any]
    picture: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Where it is from, its size, its faces, and how many of those the detector finds; empty if none was needed."""
    measurements: list[Measurement] = dataclasses.field(default_factory=list)
    costs: list[NetworkCost] = dataclasses.field(default_factory=list)
    peaks: dict[str, MachinePeak] = dataclasses.field(default_factory=dict)
    """By device."""
    scaling: Scaling | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    """What was left out, and why."""

    def to_dict(self) -> dict[str, Any]:
        """The report for :func:`memgan.runtime.atomic_file.write_json`: seconds, bytes, floating-point operations."""
        return as_dict(self)


def as_dict(value: Any) -> Any:
    """Dataclasses as dictionaries of their fields and properties, tuples as lists, all the way down."""
    if dataclasses.is_dataclass(value):
        properties = inspect.getmembers(type(value), lambda member: isinstance(member, property))
        names = [*(field.name for field in dataclasses.fields(value)), *(name for name, _ in properties)]
        return {name: as_dict(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: as_dict(one) for key, one in value.items()}
    return [as_dict(one) for one in value] if isinstance(value, (list, tuple)) else value
