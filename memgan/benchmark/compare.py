"""Compares two reports stage by stage, or two checkouts of memgan that are measured alternately."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from memgan.benchmark.memory import PeakMemory
from memgan.benchmark.report import BenchmarkReport, Measurement, as_dict
from memgan.benchmark.settings import ROUNDS, STAGES, TIMED_STAGES, Options
from memgan.benchmark.timing import Spread, ratios
from memgan.errors import ConfigError, MemGANError
from memgan.runtime.checks import check_int, parse_json

_LAST_LINES = 5  # of a process that failed
_SETUP = ("weights", "upscale")  # the picture is compared as it was; device, backend and dtype belong to a stage
_COUNTS = ("repeats", "warmup")
_REMEDY = "give a file that `memgan benchmark -o FILE` wrote"


@dataclasses.dataclass(frozen=True)
class Side:
    """What the measurements of A or B belong to, as in :class:`memgan.benchmark.BenchmarkReport`."""

    name: str
    machine: Mapping[str, Any]
    options: Mapping[str, Any]
    picture: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class StageComparison:
    """A stage that both have. Of two checkouts, each reading is the median of a round."""

    a: Measurement
    b: Measurement
    ratio: Spread
    """Time of B over that of A: of each round of two checkouts; of two reports only that of the medians."""


@dataclasses.dataclass(frozen=True)
class ReportComparison:
    """Two runs of the benchmark, stage by stage in the order of A."""

    a: Side
    b: Side
    stages: list[StageComparison]
    rounds: int | None
    """How often two checkouts alternated; ``None``: two finished reports."""
    warnings: list[str]
    """Differences of the machines, options and pictures that the ratios contain too."""
    notes: list[str]
    """What was left out, and why."""

    def to_dict(self) -> dict[str, Any]:
        """The comparison in numbers and texts for JSON, in seconds and bytes."""
        return as_dict(self)


def compare_reports(
    a: BenchmarkReport | str | os.PathLike[str], b: BenchmarkReport | str | os.PathLike[str]
) -> ReportComparison:
    """Compare two finished runs: reports, or JSON files of ``memgan benchmark -o FILE``.

    Raises:
        ConfigError: if a file is no report, or no stage is in both.
    """
    sides = (
        (label, one) if isinstance(one, BenchmarkReport) else (os.fspath(one), _read(Path(one)))
        for label, one in (("A", a), ("B", b))
    )
    return _joined(*sides)


def compare_checkouts(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    options: Options | None = None,
    *,
    rounds: int = ROUNDS,
    progress: Callable[[str], None] = lambda line: None,
) -> ReportComparison:
    """Compare two versions of memgan: A B A B ..., so that a machine that gets slower or busier meets both alike.

    Each round is a new process of each version with its own warm-up and its own embedded weights, unless the options
    name others.

    Args:
        a, b: folders with ``memgan/__init__.py`` in them.
        options: per process; stages other than :data:`TIMED_STAGES` are left out, and memory is measured in the first
            round only. ``None``: three repeats of all of these.
        rounds: processes of each, at least 1.
        progress: told in a line what is measured next.

    Raises:
        ConfigError: if a folder is no checkout, ``rounds`` or the stages are not allowed, or no stage is in both.
        MemGANError: if a process fails; with the last lines that it wrote.
    """
    options = options or Options(only=TIMED_STAGES, repeats=3)
    check_int("rounds", rounds, 1)
    timed = tuple(stage for stage in options.only if stage in TIMED_STAGES)
    if not timed:
        raise ConfigError(
            f"only is {', '.join(options.only)}; checkouts are compared in: {', '.join(TIMED_STAGES)}. Add one of them."
        )
    arguments = _arguments(dataclasses.replace(options, only=timed))
    checkouts = _checkout(a), _checkout(b)
    reports: tuple[list[BenchmarkReport], list[BenchmarkReport]] = [], []
    for number in range(rounds):
        memory = [] if options.memory and number == 0 else ["--no-memory"]
        for label, checkout, measured in zip("AB", checkouts, reports):
            progress(f"round {number + 1} of {rounds}: {label} ({checkout})")
            measured.append(_measured(checkout, [*arguments, *memory]))
    sides = zip(map(str, checkouts), map(_merged, reports))
    compared = _joined(*sides, rounds=rounds)
    left_out = [stage for stage in options.only if stage not in timed]
    compared.notes.extend(f"{stage}: left out, it does not compare checkouts" for stage in left_out)
    return compared


def _read(file: Path) -> BenchmarkReport:
    """The timed part of a report, of this or an earlier version."""
    try:
        data = parse_json(file.read_bytes())
        machine, options, picture = (dict(data[field]) for field in ("machine", "options", "picture"))
        return BenchmarkReport(machine, options, picture, [_measurement(one) for one in data["measurements"]])
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); {_REMEDY}, or two checkouts.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # ValueError: also of a file that is no JSON
        raise ConfigError(f"{file} is no report of the benchmark ({error!r}); {_REMEDY}.") from error


def _measurement(data: Mapping[str, Any]) -> Measurement:
    seconds, cpu_seconds = (Spread(tuple(map(float, data[field]["rounds"]))) for field in ("seconds", "cpu_seconds"))
    if not seconds.rounds or min(seconds.rounds) <= 0:
        raise ValueError(f"{data['stage']} took {seconds.rounds} seconds")
    memory = data.get("memory")
    if memory is not None:
        memory = PeakMemory(**{field.name: memory.get(field.name) for field in dataclasses.fields(PeakMemory)})
    stage, network, device, backend = (str(data[field]) for field in ("stage", "network", "device", "backend"))
    items, unit = int(data["items"]), str(data["unit"])
    dtype = None if data.get("dtype") is None else str(data["dtype"])
    return Measurement(seconds, cpu_seconds, stage, network, device, backend, items, unit, memory, dtype)


def _joined(*named: tuple[str, BenchmarkReport], rounds: int | None = None) -> ReportComparison:
    """Compare two reports, each with its name."""
    a, b = (Side(name, report.machine, report.options, report.picture) for name, report in named)
    with_dtype = all(any(one.dtype is not None for one in report.measurements) for _, report in named)
    ours, theirs = (_labeled(report, with_dtype) for _, report in named)
    stages = []
    for one, other in ((ours[label], theirs[label]) for label in ours if label in theirs):
        # Rounds of separate runs did not meet the same moments: only their medians are comparable.
        of_medians = Spread((other.seconds.median / one.seconds.median,))
        stages.append(StageComparison(one, other, of_medians if rounds is None else ratios(other, one)))
    if not stages:
        told = [f"{name} ({', '.join(one) or 'nothing timed'})" for (name, _), one in zip(named, (ours, theirs))]
        raise ConfigError(
            f"{' and '.join(told)} have no stage in common; measure both with the same --only, --batch, --device, "
            "--backend and --dtype."
        )
    alone = [label for label in ours if label not in theirs], [label for label in theirs if label not in ours]
    notes = [f"only {side} has {', '.join(labels)}" for side, labels in zip("AB", alone) if labels]
    return ReportComparison(a, b, stages, rounds, _warnings(a, b, {stage.a.stage for stage in stages}), notes)


def _labeled(report: BenchmarkReport, with_dtype: bool = True) -> dict[str, Measurement]:
    """Measurements by all that two must have in common to be compared; earlier versions do not tell the number type."""
    labeled = {}
    for one in report.measurements:
        dtype = f" {one.dtype}" if with_dtype and one.dtype is not None else ""
        labeled[f"{one.stage} of {one.network} on {one.device} {one.backend}{dtype} x {one.items}"] = one
    return labeled


def _warnings(a: Side, b: Side, stages: set[str]) -> list[str]:
    ours, theirs = _circumstances(a), _circumstances(b)
    found = [
        f"{name}: {_said(ours.get(name))} in A, {_said(theirs.get(name))} in B"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    affected = [stage for stage in STAGES if stage in stages and stage != "network"]
    if affected and a.picture != b.picture:
        found.append(
            f"picture: {_said(a.picture)} in A, {_said(b.picture)} in B; {', '.join(affected)} differ in their work: "
            "measure both with the same --photo, or the same --size and --faces"
        )
    return found


def _circumstances(side: Side) -> dict[str, Any]:
    """All that should be equal besides the picture, by its name in a warning."""
    machine = dict(side.machine)
    versions = dict(machine.pop("versions", {}))
    versions.pop("memgan", None)  # what is compared
    setup = side.options.get("setup", {})
    options = {name: setup.get(name) for name in _SETUP} | {name: side.options.get(name) for name in _COUNTS}
    return {name.replace("_", " "): value for name, value in (machine | versions | options).items()}


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items()) or "none"
    return "unset" if value is None else str(value)


def _checkout(path: str | os.PathLike[str]) -> Path:
    folder = Path(path)
    if not (folder / "memgan" / "__init__.py").is_file():
        raise ConfigError(f"{folder} is no checkout: it has no memgan/__init__.py; give the folder that contains it.")
    return folder.resolve()


def _arguments(options: Options) -> list[str]:
    """The command line of ``memgan benchmark`` for these options, independent of the current folder.

    Older checkouts get it too: no word here may change.
    """
    setup = options.setup
    words: list[Any] = ["--only", *options.only, "--backend", *options.backends, "--batch", *options.batches]
    words += ["--repeats", options.repeats, "--warmup", options.warmup, "--dtype", *options.dtypes]
    words += ["--size", f"{setup.width}x{setup.height}", "--faces", setup.faces, "--upscale", setup.upscale]
    devices = [device for device in options.devices if device is not None]
    words += ["--device", *devices] if devices else []
    words += ["--against", *options.against] if options.against else []
    words += [] if options.threads is None else ["--threads", options.threads]
    words += [] if setup.photo is None else ["--photo", Path(setup.photo).resolve()]
    if setup.weights is not None:
        file = Path(setup.weights)
        words += ["--weights", file.resolve() if file.exists() else setup.weights]
    return [str(word) for word in words]


def _measured(checkout: Path, arguments: list[str]) -> BenchmarkReport:
    """One run of a checkout's own benchmark in a new process."""
    inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    path = [str(checkout), *map(os.path.abspath, inherited), os.getcwd()]  # callables are looked for here, but last
    # An empty folder to run in: Python prefers a package of the current folder to PYTHONPATH.
    with tempfile.TemporaryDirectory(prefix="memgan-benchmark-") as folder:
        file = Path(folder, "report.json")
        done = subprocess.run(
            [sys.executable, "-m", "memgan", "benchmark", *arguments, "-o", str(file)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode != 0 or not file.is_file():
            lines = done.stdout.strip().splitlines()[-_LAST_LINES:]
            told = "".join(f"\n  {line}" for line in lines) or " nothing"
            raise MemGANError(
                f"The benchmark of {checkout} ended with status {done.returncode} and no report; run it alone, with "
                f"{' '.join(arguments)}. Its last lines:{told}"
            )
        return _read(file)


def _merged(reports: list[BenchmarkReport]) -> BenchmarkReport:
    """Rounds of one checkout as one report, in which each round's median is a reading."""
    rounds = [_labeled(report) for report in reports]
    measurements = []
    for label, first in rounds[0].items():
        if all(label in one for one in rounds):
            seconds = Spread(tuple(one[label].seconds.median for one in rounds))
            cpu_seconds = Spread(tuple(one[label].cpu_seconds.median for one in rounds))
            measurements.append(dataclasses.replace(first, seconds=seconds, cpu_seconds=cpu_seconds))
    return dataclasses.replace(reports[0], measurements=measurements)
