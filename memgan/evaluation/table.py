"""Formats evaluation results as a table, with the paper's published figures next to the measured ones."""

import math

from memgan.evaluation import paper
from memgan.evaluation.metrics.registry import MetricInfo
from memgan.evaluation.results import INPUT, EvaluationResult, Spread, ratio_of
from memgan.runtime.tables import text_table


def result_table(result: EvaluationResult) -> str:
    """One row per metric: input, every restorer with its gain (ratio; dB: difference), target, the paper's figures.

    The paper's figures are on other faces (CelebA-Test) and, for st_lpips, fd_enlite0 and fd_alex, of another metric,
    which the row names.
    """
    with_paper = result.target_name == "truth"
    head = ["", "better", INPUT]
    for restorer in result.restorers:
        head += [restorer, "to input"]
    head.append(result.target_name)
    if with_paper:
        head += [f"published, {paper.TABLE_1_DATA}", "input", "MemGAN", "to input"]
    rows = []
    after = [result.summary(restorer) for restorer in result.restorers]
    for name, given in result.summary().items():
        info = result.metrics[name]
        row = [name, "higher" if info.higher_is_better else "lower", _cell(given)]
        for means in after:
            row += [_cell(means[name]), _gain(info, given.mean, means[name].mean)]
        row.append(_number(result.target[name], 4) if name in result.target else "-")
        rows.append(row + (_published(info) if with_paper else []))
    title = f"{result.num_faces} faces"
    if with_paper:
        title += f", seeds {', '.join(map(str, result.seeds))}"
    elif result.num_target:
        title += f", {result.num_target} reference pictures"
    return "\n".join([title, text_table(head, rows, left=2), *_remarks(result)])


def _published(info: MetricInfo) -> list[str]:
    column = info.published
    if column is None:
        return ["-"] * 4
    given, restored = paper.TABLE_1["Input"][column], paper.TABLE_1["MemGAN"][column]
    return [column, f"{given:g}", f"{restored:g}", _gain(info, given, restored)]


def _gain(info: MetricInfo, before: float, after: float) -> str:
    if info.unit == "dB":
        return f"{_number(after - before, 3)} dB"
    return f"x {_number(ratio_of(after, before), 3)}"


def _remarks(result: EvaluationResult) -> list[str]:
    lines = []
    for restorer in result.restorers:
        for name, ratio in result.ratio_to_target(restorer).items():
            lines.append(f"{name}: {restorer} / {result.target_name} = {_number(ratio, 3)}")
        for name, share in result.share_above_target(restorer).items():
            lines.append(f"{name}, above the {result.target_name}'s: {restorer} / {INPUT} = {_number(share, 3)}")
    lines += [f"{name}: {result.metrics[name].made_by}" for name in result.summary()]
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"left out: {name}: {reason}" for name, reason in result.left_out.items()]
    return lines


def _cell(spread: Spread) -> str:
    value = _number(spread.mean, 4)
    return value if spread.std is None else f"{value} ± {_number(spread.std, 4)}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else str(value)
