"""One run of the benchmark, device by device."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from memgan import hub
from memgan.benchmark.baselines import Contender, build_contenders
from memgan.benchmark.machine import describe_machine, limited_threads
from memgan.benchmark.memory import PeakMemory, measure_peak
from memgan.benchmark.operation_count import count_work
from memgan.benchmark.report import BenchmarkReport, Comparison, Measurement, NetworkCost
from memgan.benchmark.roofline import MachinePeak, floor_of, measure_machine
from memgan.benchmark.scaling import measure_growth
from memgan.benchmark.settings import Options, Setup
from memgan.benchmark.stages import NEEDS_FACES, RESTORES_BEFORE, Workbench, network_call
from memgan.benchmark.timing import Timing, measure, ratios
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
        options: what to measure; ``None``: the embedded weights, all stages but ``growth``.
        progress: told in a line what is measured next.

    Raises:
        ConfigError: if a device, contender or weights are not allowed.
        MissingDependencyError: if a contender's or backend's package is not installed.
        MemGANError: if a process that measures memory or growth fails.
    """
    options = options or Options()
    run = _Run(options, progress)
    devices = [choose_device(device) for device in options.devices]
    with limited_threads(options.threads):
        machine = describe_machine(devices)
        if set(options.only) != {"growth"}:
            for device in devices:
                run.on(device)
    growth = None
    if "growth" in options.only:
        progress(f"growth over {options.pictures} pictures")
        growth = measure_growth(options.pictures, options.threads)
    return BenchmarkReport(
        machine=machine,
        options=dataclasses.asdict(options),
        picture=run.picture,
        measurements=run.measurements,
        comparisons=run.comparisons,
        costs=run.costs,
        peaks=run.peaks,
        growth=growth,
        notes=run.notes,
    )


class _Run:
    """Gathers what is measured."""

    def __init__(self, options: Options, progress: Callable[[str], None]) -> None:
        self.options = options
        self.progress = progress
        self.picture: dict[str, Any] = {}
        self.measurements: list[Measurement] = []
        self.comparisons: list[Comparison] = []
        self.costs: list[NetworkCost] = []
        self.peaks: dict[str, MachinePeak] = {}
        self.notes: list[str] = []

    def on(self, device: torch.device) -> None:
        """Measure all that is wanted on one device."""
        base = dataclasses.replace(self.options.setup, device=str(device))
        benches = {name: Workbench(dataclasses.replace(base, backend=name)) for name in self.options.backends}
        first = next(iter(benches.values()))
        contenders = build_contenders(self.options.against, device, first.size_px, (MEMGAN,), base.weights)
        if contenders or {"network", "floor"} & set(self.options.only):
            per_face = self._networks(device, benches, contenders)
            self._costs(device, first, contenders, per_face)
        self._parts(device, benches)

    def _networks(
        self, device: torch.device, benches: dict[str, Workbench], contenders: dict[str, Contender]
    ) -> dict[str, float]:
        """Networks in turn, by batch size; median seconds per face at the first batch size, by name."""
        per_face: dict[str, float] = {}
        dtype = self.options.setup.dtype
        for batch in self.options.batches:
            calls = {(MEMGAN, name): bench.stage("network", batch) for name, bench in benches.items()}
            if not per_face:
                for name, contender in contenders.items():
                    calls[name, "torch"] = network_call(contender, device, dtype, batch, contender.size_px)
            self.progress(f"{device}: networks in turn ({', '.join(' '.join(key) for key in calls)}), batch {batch}")
            timings = self._measure(calls, device)
            base = next(iter(timings.values()))
            for (name, backend), timing in timings.items():
                if name == MEMGAN:
                    memory = self._stage_memory(benches[backend].setup, "network", batch)
                else:
                    memory = self._contender_memory(contenders[name], device, batch)
                self.measurements.append(
                    Measurement("network", name, str(device), backend, batch, "faces", timing, memory)
                )
                per_face.setdefault(name, timing.seconds.median / batch)
                if timing is not base:
                    self.comparisons.append(Comparison(name, backend, str(device), batch, ratios(timing, base)))
        return per_face

    def _parts(self, device: torch.device, benches: dict[str, Workbench]) -> None:
        """The other stages of the restorer in turn."""
        wanted = [part for part in _PARTS if part in self.options.only]
        if not wanted:
            return
        first = next(iter(benches.values()))
        self._describe_picture(first)
        calls = {}
        for part in wanted:
            if part in NEEDS_FACES and not first.faces:
                self.notes.append(f"{part}: left out, as the picture has no faces")
                continue
            for backend in benches if part in _WITH_NETWORK else [first.setup.backend]:
                calls[part, backend] = benches[backend].stage(part)
        self.progress(f"{device}: {', '.join(wanted)} in turn")
        for (part, backend), timing in self._measure(calls, device).items():
            items = len(first.faces) if _PARTS[part] == "faces" else 1
            memory = self._stage_memory(benches[backend].setup, part)
            if memory is not None and part in RESTORES_BEFORE:
                memory = dataclasses.replace(memory, process=None)
            self.measurements.append(
                Measurement(part, MEMGAN, str(device), backend, items, _PARTS[part], timing, memory)
            )

    def _describe_picture(self, bench: Workbench) -> None:
        height, width = bench.image.shape[:2]
        self.picture = {
            "source": "drawn" if bench.drawn is not None else bench.setup.photo,
            "width": width,
            "height": height,
            "faces": len(bench.faces),
            "faces_found": len(bench.found),
        }
        if len(bench.faces) != len(bench.found):
            self.notes.append(f"enhance, rest: the detector finds {len(bench.found)} of {len(bench.faces)} drawn faces")

    def _costs(
        self, device: torch.device, bench: Workbench, contenders: dict[str, Contender], per_face: dict[str, float]
    ) -> None:
        """Work of each network, and its floor if that is wanted."""
        dtype = choose_dtype(self.options.setup.dtype, False, device)
        peak = None
        if "floor" in self.options.only:
            self.progress(f"{device}: peak of the machine")
            peak = self.peaks[str(device)] = measure_machine(device, dtype)
        networks: dict[str, tuple[nn.Module, int]] = {MEMGAN: (_torch_network(bench), bench.size_px)}
        networks |= {name: (contender, contender.size_px) for name, contender in contenders.items()}
        for name, (network, size_px) in networks.items():
            try:
                work = count_work(network, size_px, dtype)
            except Exception as error:  # whatever foreign code makes of tensors without content
                self.notes.append(f"{name}: its work cannot be counted ({str(error).strip().splitlines()[0]})")
                continue
            floor = None if peak is None else floor_of(work, peak, per_face[name])
            self.costs.append(NetworkCost(name, str(device), work, floor))

    def _measure(self, calls: dict[Any, Callable[[], Any]], device: torch.device) -> dict[Any, Timing]:
        return measure(calls, rounds=self.options.repeats, warmup=self.options.warmup, device=device)

    def _stage_memory(self, setup: Setup, stage: str, batch: int = 1) -> PeakMemory | None:
        arguments = {"setup": setup.to_dict(), "stage": stage, "batch": batch}
        return self._memory("prepare_stage", arguments, f"{setup.device}: {stage} of {setup.backend}, batch {batch}")

    def _contender_memory(self, contender: Contender, device: torch.device, batch: int) -> PeakMemory | None:
        arguments = {"asked": contender.asked, "device": str(device), "size_px": contender.size_px}
        arguments |= {"dtype": self.options.setup.dtype, "batch": batch, "weights": self.options.setup.weights}
        return self._memory("prepare_contender", arguments, f"{device}: {contender.name}, batch {batch}")

    def _memory(self, function: str, arguments: dict[str, Any], what: str) -> PeakMemory | None:
        if not self.options.memory:
            return None
        self.progress(f"peak memory on {what}")
        device = arguments["setup"]["device"] if "setup" in arguments else arguments["device"]
        place = f"memgan.benchmark.stages:{function}"
        return measure_peak(place, arguments, device=device, threads=self.options.threads)


def _torch_network(bench: Workbench) -> nn.Module:
    """The network whose work is counted: an exported one has no operations of torch."""
    if bench.setup.backend == "torch":
        return bench.restorer.network
    return build_memgan(hub.load(bench.setup.weights).config).eval().requires_grad_(False)
