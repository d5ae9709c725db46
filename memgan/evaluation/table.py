"""Evaluation results as text, with the paper's published figures beside the measured ones."""

import math

from memgan.evaluation import paper
from memgan.evaluation.metrics.registry import MetricInfo, metric_info
from memgan.evaluation.results import INPUT, EvaluationResult, Spread


def text_table(result: EvaluationResult) -> str:
    """One row per metric: input, every restorer with its gain (ratio; dB: difference), target, the paper's figures.

    Figures of the paper are on other faces (CelebA-Test) and, for st_lpips, fd_enlite0 and fd_alex, of another metric,
    which the row names.
    """
    beside_paper = result.target_name == "truth"
    head = ["", "better", INPUT]
    for restorer in result.restorers:
        head += [restorer, "to input"]
    head.append(result.target_name)
    if beside_paper:
        head += [f"| published, {paper.TABLE_1_DATA}:", "input", "MemGAN", "to input"]
    rows = [head]
    before = result.summary()
    after = {restorer: result.summary(restorer) for restorer in result.restorers}
    for name in before:
        info = metric_info(name)
        row = [name, "" if info is None else "higher" if info.higher_is_better else "lower", _cell(before[name])]
        for means in after.values():
            row += [_cell(means[name]), _gain(info, before[name].mean, means[name].mean)]
        row.append(_number(result.target[name], 4) if name in result.target else "-")
        if beside_paper:
            row += _published(info)
        rows.append(row)
    seeds = f", seeds {', '.join(map(str, result.seeds))}" if beside_paper else ""
    target = "" if beside_paper or not result.num_target else f", {result.num_target} reference pictures"
    return "\n".join([f"{result.num_faces} faces{seeds}{target}", *_aligned(rows), *_remarks(result)])


def _published(info: MetricInfo | None) -> list[str]:
    column = None if info is None else info.published
    if column is None:
        return ["|", "-", "-", "-"]
    given, restored = paper.TABLE_1["Input"][column], paper.TABLE_1["MemGAN"][column]
    return [f"| {column}", f"{given:g}", f"{restored:g}", _gain(info, given, restored)]


def _gain(info: MetricInfo | None, before: float, after: float) -> str:
    if info is not None and info.unit == "dB":
        return f"{_number(after - before, 3)} dB"
    return f"x {_number(after / before if before else math.nan, 3)}"


def _remarks(result: EvaluationResult) -> list[str]:
    lines = []
    for restorer in result.restorers:
        for name, ratio in result.ratio_to_target(restorer).items():
            lines.append(f"{name}: {restorer} / {result.target_name} = {_number(ratio, 3)}")
        for name, share in result.share_above_target(restorer).items():
            lines.append(f"{name}, above the {result.target_name}'s: {restorer} / {INPUT} = {_number(share, 3)}")
    lines += [f"{name}: {info.made_by}" for name in result.summary() if (info := metric_info(name))]
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"left out: {name}: {reason}" for name, reason in result.left_out.items()]
    return lines


def _cell(spread: Spread) -> str:
    value = _number(spread.mean, 4)
    return value if spread.std is None else f"{value} ± {_number(spread.std, 4)}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else str(value)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 or cell.startswith("|") else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
