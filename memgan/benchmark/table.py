"""Prints a report, or a comparison of two, as text."""

from collections.abc import Iterable

from memgan.benchmark.compare import ReportComparison, Side
from memgan.benchmark.memory import PeakMemory
from memgan.benchmark.report import BenchmarkReport, Measurement, NetworkCost
from memgan.benchmark.scaling import Scaling
from memgan.benchmark.timing import Spread


def text_table(report: BenchmarkReport) -> str:
    """Blocks for the machine, stages, comparisons, work and scaling; those without figures are left out."""
    machine = report.machine
    used = f"{machine['threads']} threads, torch {machine['versions']['torch']}"
    blocks = [f"{machine['processor']} ({machine['instructions']}), {used}"]
    blocks[0] += "".join(f"\n{device}: {name}" for device, name in machine["devices"].items())
    if report.picture:
        picture = report.picture
        faces = f"{picture['faces']} faces, {picture['faces_found']} found by the detector"
        blocks[0] += f"\npicture: {picture['width']} x {picture['height']} ({picture['source']}), {faces}"
    if report.measurements:
        blocks.append(_stages(report.measurements))
    if report.comparisons:
        head = ["time, as a multiple of", "batch", "median", "quartiles"]
        base = report.measurements[0]
        rows = [
            [f"{one.network} {one.backend} {one.device}", str(one.batch), f"{one.ratio.median:.2f}", _pair(one.ratio)]
            for one in report.comparisons
        ]
        head[0] += f" {base.network} {base.backend}"
        blocks.append(_aligned([head, *rows]))
    if report.costs:
        blocks.append(_costs(report.costs))
    blocks += [
        f"peak of {device}: {peak.matrix_flops / 1e9:.1f} GFLOP/s (matrix product), "
        f"{peak.convolution_flops / 1e9:.1f} GFLOP/s (convolution), {peak.copy_bytes / 1e9:.1f} GB/s (copy)"
        for device, peak in report.peaks.items()
    ]
    if report.scaling is not None:
        blocks.append(_scaling(report.scaling))
    if report.notes:
        blocks.append("\n".join(f"note: {note}" for note in report.notes))
    return "\n\n".join(blocks)


def comparison_table(compared: ReportComparison) -> str:
    """Blocks for the two sides, their stages with the ratio B/A, warnings and notes."""
    blocks = ["\n".join(f"{label}: {_described(side)}" for label, side in (("A", compared.a), ("B", compared.b)))]
    with_rounds = compared.rounds is not None
    with_memory = any(one.memory is not None for stage in compared.stages for one in (stage.a, stage.b))
    head = ["stage", "network", "on", "items", "A ms", "B ms", "B/A", *["quartiles"] * with_rounds, "cores"]
    rows = [head + ["own MB", "call MB"] * with_memory]
    for stage in compared.stages:
        pair = stage.a, stage.b
        row = [*_labels(stage.a), *(f"{1e3 * one.timing.seconds.median:.1f}" for one in pair)]
        row += [f"{stage.ratio.median:.3f}", *[_pair(stage.ratio, 3)] * with_rounds]
        row.append(", ".join(f"{one.timing.busy_cores:.2f}" for one in pair))
        _, own, call = (", ".join(cells) for cells in zip(*(_memory(one.memory) for one in pair), strict=True))
        rows.append(row + [own, call] * with_memory)
    blocks.append(_aligned(rows, left=4))
    if with_rounds:
        blocks[-1] += f"\n{compared.rounds} rounds of A and B alternately; B/A is taken round by round"
    blocks[-1] += "\ncores: at work on average, of A and of B"
    if with_memory:
        blocks[-1] += "; own: peak memory without Python and libraries; call: beyond weights and picture"
    remarks = [f"warning: {line}" for line in compared.warnings] + [f"note: {line}" for line in compared.notes]
    return "\n\n".join([*blocks, *["\n".join(remarks)] * bool(remarks)])


def _described(side: Side) -> str:
    versions = side.machine.get("versions", {})
    used = f"memgan {versions.get('memgan')}, torch {versions.get('torch')}, {side.machine.get('threads')} threads"
    return f"{side.name} ({used}, {side.machine.get('processor')})"


def _labels(one: Measurement) -> list[str]:
    items = f"{one.items} {one.unit if one.items > 1 else one.unit[:-1]}"
    return [one.stage, one.network, f"{one.device} {one.backend}", items]


def _stages(measurements: list[Measurement]) -> str:
    head = [
        "stage",
        "network",
        "on",
        "items",
        "median ms",
        "quartiles",
        "per s",
        "cores",
        "peak MB",
        "own MB",
        "call MB",
    ]
    on_device = any(one.memory is not None and one.memory.device is not None for one in measurements)
    rows = [head + ["device MB"] * on_device]
    for one in measurements:
        low, high = (1e3 * value for value in one.timing.seconds.quartiles)
        rows.append(
            [
                *_labels(one),
                f"{1e3 * one.timing.seconds.median:.1f}",
                f"{low:.1f} - {high:.1f}",
                f"{one.per_second:.2f}",
                f"{one.timing.busy_cores:.2f}",
                *_memory(one.memory),
                *([_megabytes(None if one.memory is None else one.memory.device)] * on_device),
            ]
        )
    legend = "peak: of the process; own: without Python and libraries; call: beyond weights and picture"
    return _aligned(rows, left=4) + (f"\n{legend}" if any(one.memory is not None for one in measurements) else "")


def _memory(memory: PeakMemory | None) -> list[str]:
    if memory is None:
        return ["-", "-", "-"]
    return [_megabytes(memory.process), _megabytes(memory.own), _megabytes(memory.beyond_loaded)]


def _costs(costs: list[NetworkCost]) -> str:
    head = ["one face", "on", "parameters", "GMAC", "MB at least", "MB moved"]
    with_roofline = any(cost.roofline is not None for cost in costs)
    rows = [head + ["GFLOP/s", "roofline ms", "unfused ms", "of the peak"] * with_roofline]
    for cost in costs:
        work, roofline = cost.work, cost.roofline
        row = [cost.network, cost.device, f"{work.num_parameters:,}", f"{work.multiply_adds / 1e9:.2f}"]
        row += [_megabytes(work.least_bytes), _megabytes(work.moved_bytes)]
        if roofline is not None:
            row += [
                f"{roofline.flops / 1e9:.1f}",
                f"{1e3 * roofline.seconds:.1f}",
                f"{1e3 * roofline.unfused_seconds:.1f}",
            ]
            row.append(f"{roofline.share:.0%}")
        rows.append(row)
    return _aligned(rows, left=2)


def _scaling(scaling: Scaling) -> str:
    rows = [["pictures", "ms per picture", "resident MB"]]
    for mark, (_, seconds) in zip(scaling.pictures, scaling.intervals(), strict=True):
        rows.append([str(mark.count), f"{1e3 * seconds:.2f}", _megabytes(mark.resident)])
    faces = [["faces in one picture", "ms per face", "resident MB"]]
    faces += [[str(m.count), f"{1e3 * m.seconds / m.count:.2f}", _megabytes(m.resident)] for m in scaling.faces]
    lines = [_aligned(rows), _aligned(faces)]
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


def _aligned(rows: Iterable[list[str]], left: int = 1) -> str:
    """Columns under one another; the first ``left`` ones are text, the others numbers."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
