"""Runs the benchmark, device by device."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from memgan import hub
from memgan.benchmark.baselines import Baseline, build_baselines
from memgan.benchmark.machine import describe_machine, limited_threads
from memgan.benchmark.memory import PeakMemory, measure_peak
from memgan.benchmark.report import BenchmarkReport, Measurement, NetworkCost
from memgan.benchmark.roofline import measure_machine, roofline_of
from memgan.benchmark.scaling import measure_scaling
from memgan.benchmark.settings import Options, Setup
from memgan.benchmark.stages import NEEDS_FACES, RESTORES_BEFORE, Workbench, network_call
from memgan.benchmark.timing import Spread, Timing, measure, ratios
from memgan.network.cost import count_operations
from memgan.network.model import build_memgan
from memgan.runtime.device import choose_device, choose_dtype

MEMGAN = "memgan"
_PARTS = {"detect": "pictures", "align": "faces", "paste": "faces", "rest": "pictures", "enhance": "pictures"}
_WITH_NETWORK = ("enhance",)  # parts that another backend changes


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


class _Run:
    """Adds to a report what is measured on one device."""

    def __init__(
        self, options: Options, progress: Callable[[str], None], report: BenchmarkReport, device: torch.device
    ) -> None:
        self.options, self.progress, self.report, self.device = options, progress, report, device
        setup = dataclasses.replace(options.setup, device=str(device))
        self.benches = {name: Workbench(dataclasses.replace(setup, backend=name)) for name in options.backends}
        self.first = next(iter(self.benches.values()))
        self.baselines = build_baselines(options.against, device, self.first.size_px, (MEMGAN,), setup.weights)

    def measure(self) -> None:
        """Everything that is wanted."""
        if self.baselines or {"network", "roofline"} & set(self.options.only):
            self._count(self._networks())
        self._parts()

    def _networks(self) -> dict[str, float]:
        """Networks alternately, by batch size; median seconds per face at the first batch size, by name."""
        per_face: dict[str, float] = {}
        for batch in self.options.batches:
            calls = {(MEMGAN, name): bench.stage("network", batch) for name, bench in self.benches.items()}
            if not per_face:
                for name, baseline in self.baselines.items():
                    calls[name, "torch"] = network_call(
                        baseline, self.device, self.options.setup.dtype, batch, baseline.size_px
                    )
            self.progress(f"{self.device}: {', '.join(' '.join(key) for key in calls)} alternately, batch {batch}")
            timings = self._time(calls)
            base = next(iter(timings.values()))
            for (name, backend), timing in timings.items():
                if name == MEMGAN:
                    memory = self._stage_memory(self.benches[backend].setup, "network", batch)
                else:
                    memory = self._baseline_memory(self.baselines[name], batch)
                ratio = None if timing is base else ratios(timing, base)
                self._add("network", name, backend, batch, "faces", timing, memory, ratio)
                per_face.setdefault(name, timing.seconds.median / batch)
        return per_face

    def _parts(self) -> None:
        """The other stages of the restorer alternately."""
        wanted = [part for part in _PARTS if part in self.options.only]
        if not wanted:
            return
        self._describe_picture()
        calls = {}
        for part in wanted:
            if part in NEEDS_FACES and not self.first.faces:
                self.report.notes.append(f"{part}: left out, as the picture has no faces")
                continue
            for backend in self.benches if part in _WITH_NETWORK else [self.first.setup.backend]:
                calls[part, backend] = self.benches[backend].stage(part)
        self.progress(f"{self.device}: {', '.join(wanted)} alternately")
        for (part, backend), timing in self._time(calls).items():
            memory = self._stage_memory(self.benches[backend].setup, part)
            if memory is not None and part in RESTORES_BEFORE:
                memory = dataclasses.replace(memory, process=None)
            items = len(self.first.faces) if _PARTS[part] == "faces" else 1
            self._add(part, MEMGAN, backend, items, _PARTS[part], timing, memory)

    def _describe_picture(self) -> None:
        bench = self.first
        height, width = bench.image.shape[:2]
        source = "drawn" if bench.drawn is not None else bench.setup.photo
        num_faces, num_found = len(bench.faces), len(bench.found)
        self.report.picture = {"source": source, "width": width, "height": height}
        self.report.picture |= {"faces": num_faces, "faces_found": num_found}
        if num_faces != num_found:
            self.report.notes.append(f"enhance, rest: the detector finds {num_found} of {num_faces} drawn faces")

    def _count(self, per_face: dict[str, float]) -> None:
        """Operations of each network, and its roofline if that is wanted."""
        dtype = choose_dtype(self.options.setup.dtype, False, self.device)
        peak = None
        if "roofline" in self.options.only:
            self.progress(f"{self.device}: peak of the machine")
            peak = self.report.peaks[str(self.device)] = measure_machine(self.device, dtype)
        networks: dict[str, tuple[nn.Module, int]] = {MEMGAN: (_torch_network(self.first), self.first.size_px)}
        networks |= {name: (baseline, baseline.size_px) for name, baseline in self.baselines.items()}
        for name, (network, size_px) in networks.items():
            try:
                count = count_operations(network, size_px, dtype)
            except Exception as error:  # whatever foreign code makes of tensors without content
                why = str(error).strip().splitlines()[0]
                self.report.notes.append(f"{name}: its operations cannot be counted ({why})")
                continue
            counts = count.num_parameters, count.multiply_adds, count.least_bytes, count.moved_bytes
            roofline = None if peak is None else roofline_of(count, peak, per_face[name])
            self.report.costs.append(NetworkCost(name, str(self.device), *counts, roofline))

    def _time(self, calls: dict[tuple[str, str], Callable[[], Any]]) -> dict[tuple[str, str], Timing]:
        return measure(calls, rounds=self.options.repeats, warmup=self.options.warmup, device=self.device)

    def _add(
        self,
        stage: str,
        network: str,
        backend: str,
        items: int,
        unit: str,
        timing: Timing,
        memory: PeakMemory | None,
        ratio: Spread | None = None,
    ) -> None:
        labels = stage, network, str(self.device), backend, items, unit
        self.report.measurements.append(Measurement(timing.seconds, timing.cpu_seconds, *labels, memory, ratio))

    def _stage_memory(self, setup: Setup, stage: str, batch: int = 1) -> PeakMemory | None:
        arguments = {"setup": dataclasses.asdict(setup), "stage": stage, "batch": batch}
        return self._memory("prepare_stage", arguments, f"{stage} of {setup.backend}, batch {batch}")

    def _baseline_memory(self, baseline: Baseline, batch: int) -> PeakMemory | None:
        arguments = {"requested": baseline.requested, "device": str(self.device), "size_px": baseline.size_px}
        arguments |= {"dtype": self.options.setup.dtype, "batch": batch, "weights": self.options.setup.weights}
        return self._memory("prepare_baseline", arguments, f"{baseline.name}, batch {batch}")

    def _memory(self, function: str, arguments: dict[str, Any], what: str) -> PeakMemory | None:
        if not self.options.memory:
            return None
        self.progress(f"{self.device}: peak memory of {what}")
        place = f"memgan.benchmark.stages:{function}"
        return measure_peak(place, arguments, device=str(self.device), threads=self.options.threads)


def _torch_network(bench: Workbench) -> nn.Module:
    """The network whose operations are counted: an exported one has none of torch."""
    if bench.setup.backend == "torch":
        return bench.restorer.network
    return build_memgan(hub.load(bench.setup.weights).config).eval().requires_grad_(False)
