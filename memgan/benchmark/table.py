"""Prints a report, or a comparison of two, as text."""

from memgan.benchmark.compare import ReportComparison, Side
from memgan.benchmark.memory import PeakMemory
from memgan.benchmark.report import BenchmarkReport, Measurement, NetworkCost
from memgan.benchmark.scaling import Scaling
from memgan.benchmark.timing import Spread
from memgan.runtime.tables import text_table

_MEMORY = ["peak MB", "own MB", "call MB"]
_MEMORY_LEGEND = "own: peak memory without Python and libraries; call: beyond weights and picture"


def report_table(report: BenchmarkReport) -> str:
    """Blocks for the machine, stages, comparisons, operations and scaling; those without figures are left out."""
    machine, picture = report.machine, report.picture
    used = f"{machine['threads']} threads, torch {machine['versions']['torch']}"
    lines = [f"{machine['processor']} ({machine['instructions']}), {used}"]
    lines += [f"{device}: {name}" for device, name in machine["devices"].items()]
    if picture:
        faces = f"{picture['faces']} faces, {picture['faces_found']} found by the detector"
        lines.append(f"picture: {picture['width']} x {picture['height']} ({picture['source']}), {faces}")
    blocks = ["\n".join(lines)]
    if report.measurements:
        blocks += [_stages(report.measurements), _ratios(report.measurements)]
    if report.costs:
        blocks.append(_costs(report.costs))
    blocks += [
        f"peak of {device}: {peak.matrix_flops / 1e9:.1f} GFLOP/s (matrix product), "
        f"{peak.convolution_flops / 1e9:.1f} GFLOP/s (convolution), {peak.copy_bytes / 1e9:.1f} GB/s (copy)"
        for device, peak in report.peaks.items()
    ]
    if report.scaling is not None:
        blocks.append(_scaling(report.scaling))
    blocks.append("\n".join(f"note: {note}" for note in report.notes))
    return "\n\n".join(filter(None, blocks))


def comparison_table(compared: ReportComparison) -> str:
    """Blocks for the two sides, their stages with the ratio B/A, warnings and notes."""
    sides = "\n".join(f"{label}: {_described(side)}" for label, side in (("A", compared.a), ("B", compared.b)))
    with_rounds = compared.rounds is not None
    with_memory = any(one.memory is not None for stage in compared.stages for one in (stage.a, stage.b))
    head = ["stage", "network", "on", "items", "A ms", "B ms", "B/A", *["quartiles"] * with_rounds, "cores"]
    rows = []
    for stage in compared.stages:
        pair = stage.a, stage.b
        row = [*_labels(stage.a), *(f"{1e3 * one.seconds.median:.1f}" for one in pair), f"{stage.ratio.median:.3f}"]
        row += [_pair(stage.ratio, 3)] * with_rounds + [", ".join(f"{one.busy_cores:.2f}" for one in pair)]
        if with_memory:
            row += [", ".join(cells) for cells in zip(*(_memory(one.memory)[1:] for one in pair), strict=True)]
        rows.append(row)
    legend = "cores: at work on average, of A and of B" + f"; {_MEMORY_LEGEND}" * with_memory
    if with_rounds:
        legend = f"{compared.rounds} rounds of A and B alternately; B/A is taken round by round\n{legend}"
    table = text_table([*head, *_MEMORY[1:] * with_memory], rows, left=4)
    remarks = [f"warning: {line}" for line in compared.warnings] + [f"note: {line}" for line in compared.notes]
    return "\n\n".join([sides, f"{table}\n{legend}", *["\n".join(remarks)] * bool(remarks)])


def _described(side: Side) -> str:
    versions = side.machine.get("versions", {})
    used = f"memgan {versions.get('memgan')}, torch {versions.get('torch')}, {side.machine.get('threads')} threads"
    return f"{side.name} ({used}, {side.machine.get('processor')})"


def _labels(one: Measurement) -> list[str]:
    items = f"{one.items} {one.unit if one.items > 1 else one.unit[:-1]}"
    return [one.stage, one.network, _place(one), items]


def _place(one: Measurement) -> str:
    return " ".join(filter(None, [one.device, one.backend, one.dtype]))


def _stages(measurements: list[Measurement]) -> str:
    on_device = any(one.memory is not None and one.memory.device is not None for one in measurements)
    head = ["stage", "network", "on", "items", "median ms", "quartiles", "per s", "cores", *_MEMORY]
    rows = []
    for one in measurements:
        low, high = (1e3 * value for value in one.seconds.quartiles)
        figures = [f"{1e3 * one.seconds.median:.1f}", f"{low:.1f} - {high:.1f}", f"{one.per_second:.2f}"]
        device = [_megabytes(None if one.memory is None else one.memory.device)] * on_device
        rows.append([*_labels(one), *figures, f"{one.busy_cores:.2f}", *_memory(one.memory), *device])
    table = text_table(head + ["device MB"] * on_device, rows, left=4)
    return f"{table}\n{_MEMORY_LEGEND}" if any(one.memory is not None for one in measurements) else table


def _ratios(measurements: list[Measurement]) -> str:
    base = measurements[0]
    rows = [
        [f"{one.network} {_place(one)}", str(one.items), f"{one.ratio.median:.2f}", _pair(one.ratio)]
        for one in measurements
        if one.ratio is not None
    ]
    head = [f"time, as a multiple of {base.network} {_place(base)}", "batch", "median", "quartiles"]
    return text_table(head, rows) if rows else ""


def _memory(memory: PeakMemory | None) -> list[str]:
    if memory is None:
        return ["-", "-", "-"]
    return [_megabytes(memory.process), _megabytes(memory.own), _megabytes(memory.beyond_loaded)]


def _costs(costs: list[NetworkCost]) -> str:
    head = ["one face", "on", "parameters", "GMAC", "MB at least", "MB moved"]
    with_roofline = any(cost.roofline is not None for cost in costs)
    rows = []
    for cost in costs:
        row = [cost.network, cost.device, f"{cost.num_parameters:,}", f"{cost.multiply_adds / 1e9:.2f}"]
        row += [_megabytes(cost.least_bytes), _megabytes(cost.moved_bytes)]
        if cost.roofline is not None:
            seconds = cost.roofline.seconds, cost.roofline.unfused_seconds
            row += [f"{cost.roofline.flops / 1e9:.1f}", *(f"{1e3 * one:.1f}" for one in seconds)]
            row.append(f"{cost.roofline.share:.0%}")
        rows.append(row)
    return text_table(head + ["GFLOP/s", "roofline ms", "unfused ms", "of the peak"] * with_roofline, rows, left=2)


def _scaling(scaling: Scaling) -> str:
    marks = zip(scaling.pictures, scaling.seconds_per_picture, strict=True)
    pictures = [[str(m.count), f"{1e3 * seconds:.2f}", _megabytes(m.resident)] for m, (_, seconds) in marks]
    faces = [[str(m.count), f"{1e3 * m.seconds / m.count:.2f}", _megabytes(m.resident)] for m in scaling.faces]
    lines = [
        text_table(["pictures", "ms per picture", "resident MB"], pictures),
        text_table(["faces in one picture", "ms per face", "resident MB"], faces),
    ]
    if scaling.exponent is not None:
        lines.append(f"time ~ pictures ** {scaling.exponent:.3f} from 10 pictures on")
    if scaling.faces_exponent is not None:
        lines.append(f"time ~ faces ** {scaling.faces_exponent:.3f} from 8 faces on")
    if scaling.resident_growth is not None:
        lines.append(f"resident memory after the first tenth: {scaling.resident_growth / 1e6:+.1f} MB")
    return "\n".join(lines)


def _pair(spread: Spread, digits: int = 2) -> str:
    low, high = spread.quartiles
    return f"{low:.{digits}f} - {high:.{digits}f}"


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.0f}"
