"""Runs the benchmark, device by device."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from memgan import hub
from memgan.benchmark.baselines import MEMGAN, Baseline, build_baselines
from memgan.benchmark.memory import measure_peak
from memgan.benchmark.report import BenchmarkReport, Measurement, NetworkCost, describe_machine
from memgan.benchmark.roofline import measure_machine, roofline_of
from memgan.benchmark.scaling import measure_scaling
from memgan.benchmark.settings import Options, Setup
from memgan.benchmark.stages import Workbench, network_call, prepare_baseline, prepare_stage
from memgan.benchmark.timing import limited_threads, measure, ratios
from memgan.network.cost import count_operations
from memgan.network.model import build_memgan
from memgan.runtime.device import choose_device, choose_dtype, dtype_name

_PARTS = {"detect": "pictures", "align": "faces", "paste": "faces", "rest": "pictures", "enhance": "pictures"}
_RESTORE_BEFORE = ("paste", "rest")  # a whole restoration makes ready for them


def run_benchmark(
    options: Options | None = None, *, progress: Callable[[str], None] = lambda line: None
) -> BenchmarkReport:
    """Measure a restorer, and other networks in the same process with the same threads.

    Args:
        options: what to measure; ``None``: the embedded weights, all stages but ``scaling``.
        progress: told in a line what is measured next.

    Raises:
        ConfigError: if a device, baseline or weights are not allowed.
        MissingDependencyError: if a baseline's or backend's package is not installed.
        MemGANError: if a process that measures memory or scaling fails.
    """
    options = options or Options()
    devices = [choose_device(device) for device in options.devices]
    with limited_threads(options.threads):
        report = BenchmarkReport(describe_machine(devices), dataclasses.asdict(options))
        if set(options.only) != {"scaling"}:
            for device in devices:
                _Run(options, progress, report, device).measure()
    if "scaling" in options.only:
        progress(f"scaling over {options.pictures} pictures")
        report.scaling = measure_scaling(options.pictures, options.threads)
    return report


@dataclasses.dataclass(frozen=True)
class _Task:
    """A call to measure."""

    stage: str
    network: str
    backend: str
    dtype: str | None
    items: int
    unit: str
    call: Callable[[], Any]
    prepare: Callable[[], Callable[[], Any]]
    """Makes the call again, in the process that measures its memory."""


class _Run:
    """Adds to a report what is measured on one device."""

    def __init__(
        self, options: Options, progress: Callable[[str], None], report: BenchmarkReport, device: torch.device
    ) -> None:
        self.options, self.progress, self.report, self.device = options, progress, report, device
        self.setup = dataclasses.replace(options.setup, device=str(device))
        forms = itertools.product(options.backends, options.dtypes)
        self.benches = [Workbench(self._setup_of(*form)) for form in forms]
        self.first = self.benches[0]
        self.baselines = build_baselines(options.against, device, self.first.size_px, self.setup.weights)

    def _setup_of(self, backend: str, dtype: str) -> Setup:
        provider = None if backend == "torch" else self.setup.provider
        return dataclasses.replace(self.setup, backend=backend, dtype=dtype, provider=provider)

    def measure(self) -> None:
        if self.baselines or {"network", "roofline"} & set(self.options.only):
            first, *others = self.options.batches
            per_face = self._networks(first, list(self.baselines.values()))
            for batch in others:
                self._networks(batch, [])
            self._count(per_face)
        if set(_PARTS) & set(self.options.only):
            self._parts()

    def _networks(self, batch: int, baselines: list[Baseline]) -> dict[str, float]:
        """Networks alternately; median seconds per face by name, of the first backend."""
        tasks = [self._task("network", bench, batch, "faces") for bench in self.benches]
        for baseline, requested in itertools.product(baselines, self.options.dtypes):
            dtype = choose_dtype(requested, False, self.device)
            call = network_call(baseline, self.device, dtype, batch, baseline.size_px)
            setup = dataclasses.replace(self.setup, dtype=requested)
            prepare = functools.partial(prepare_baseline, baseline.requested, setup, baseline.size_px, batch)
            tasks.append(_Task("network", baseline.name, "torch", dtype_name(dtype), batch, "faces", call, prepare))
        measured = self._measure(tasks)
        base = measured[0]
        compared = (dataclasses.replace(one, ratio=ratios(one, base)) for one in measured[1:])
        self.report.measurements += [base, *compared]
        return {one.network: one.seconds.median / batch for one in reversed(measured)}

    def _parts(self) -> None:
        """Other stages of the restorer alternately."""
        self._describe_picture()
        tasks = []
        for part, unit in _PARTS.items():
            items = len(self.first.faces) if unit == "faces" else 1
            if part in self.options.only and items:
                benches = self.benches if part == "enhance" else self.benches[:1]  # the others do not run the network
                tasks += [self._task(part, bench, items, unit) for bench in benches]
            elif part in self.options.only:
                self.report.notes.append(f"{part}: left out, as the picture has no faces")
        self.report.measurements += self._measure(tasks)

    def _task(self, stage: str, bench: Workbench, items: int, unit: str) -> _Task:
        prepare = functools.partial(prepare_stage, bench.setup, stage, items)
        dtype = dtype_name(bench.dtype) if stage in ("network", "enhance") else None
        return _Task(stage, MEMGAN, bench.setup.backend, dtype, items, unit, bench.stage(stage, items), prepare)

    def _measure(self, tasks: list[_Task]) -> list[Measurement]:
        """Time tasks alternately, and then the memory of each."""
        options, measured = self.options, []
        self.progress(f"{self.device}: {', '.join(_described(task) for task in tasks)} alternately")
        calls = {task: task.call for task in tasks}
        timings = measure(calls, rounds=options.repeats, warmup=options.warmup, device=self.device)
        for task, timing in timings.items():
            memory = None
            if options.memory:
                self.progress(f"{self.device}: peak memory of {_described(task)}")
                memory = measure_peak(task.prepare, device=self.device, threads=options.threads)
                if task.stage in _RESTORE_BEFORE:
                    memory = dataclasses.replace(memory, process=None)
            labels = task.stage, task.network, str(self.device), task.backend, task.items, task.unit
            measured.append(Measurement(timing.seconds, timing.cpu_seconds, *labels, memory, task.dtype))
        return measured

    def _describe_picture(self) -> None:
        bench = self.first
        (height, width), faces, found = bench.image.shape[:2], len(bench.faces), len(bench.found)
        self.report.picture = {"source": bench.setup.photo or "drawn", "width": width, "height": height}
        self.report.picture |= {"faces": faces, "faces_found": found}
        if faces != found:
            self.report.notes.append(f"enhance, rest: the detector finds {found} of {faces} drawn faces")

    def _count(self, per_face: dict[str, float]) -> None:
        """Operations of each network, and its roofline if that is wanted."""
        dtype, peak = self.first.dtype, None
        if "roofline" in self.options.only:
            self.progress(f"{self.device}: peak of the machine")
            peak = self.report.peaks[str(self.device)] = measure_machine(self.device, dtype)
        networks: dict[str, nn.Module] = {MEMGAN: _torch_network(self.first), **self.baselines}
        for name, network in networks.items():
            size_px = network.size_px if isinstance(network, Baseline) else self.first.size_px
            try:
                count = count_operations(network, size_px, dtype)
            except Exception as error:  # whatever foreign code makes of tensors without content
                why = str(error).strip().splitlines()[0]
                self.report.notes.append(f"{name}: its operations cannot be counted ({why})")
                continue
            counts = count.num_parameters, count.multiply_adds, count.least_bytes, count.moved_bytes
            roofline = None if peak is None else roofline_of(count, peak, per_face[name])
            self.report.costs.append(NetworkCost(name, str(self.device), *counts, roofline))


def _described(task: _Task) -> str:
    return " ".join(filter(None, [task.stage, "of", task.network, task.backend, task.dtype, f"x {task.items}"]))


def _torch_network(bench: Workbench) -> nn.Module:
    """The network whose operations are counted: an exported one has none of torch."""
    if bench.setup.backend == "torch":
        return bench.restorer.network
    return build_memgan(hub.load(bench.setup.weights).config).eval().requires_grad_(False)
