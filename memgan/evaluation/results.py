"""Holds the results of an evaluation, and sets them in a table."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from memgan.evaluation.metrics.registry import MetricInfo
from memgan.runtime.tables import text_table

INPUT = "input"  # name of the degraded pictures
TO_OTHERS = "_to_others"  # ends the name of a distance to other people's faces instead of to the truths


@dataclasses.dataclass(frozen=True)
class Spread:
    """A mean over seeds and, of two seeds or more, its standard deviation (that of the sample)."""

    mean: float
    std: float | None = None


@dataclasses.dataclass(frozen=True)
class FaceScores:
    """Scores of one face, degraded with one base seed."""

    name: str
    seed: int
    scores: dict[str, dict[str, float]]  # by picture (``input``, then the restorers) and metric


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Scores of all faces, in the order of the seeds and the names."""

    faces: tuple[FaceScores, ...]
    restorers: tuple[str, ...]
    metrics: dict[str, MetricInfo]  # by name, in the order of the table
    distances: dict[int, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)
    """Distances of the sets to the target: by seed, picture and metric."""
    target: dict[str, float] = dataclasses.field(default_factory=dict)
    """Means of the metrics that need no truth, over the truths or the reference pictures."""
    target_name: str = "truth"
    """``truth``: the clean faces that were degraded; ``reference``: good faces to compare real ones with."""
    num_target: int = 0
    notes: tuple[str, ...] = ()  # caveats of the figures
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    """Metrics that could not be computed: why, and the remedy."""

    @property
    def seeds(self) -> list[int]:
        """Base seeds in the order given."""
        return list(dict.fromkeys(face.seed for face in self.faces))

    @property
    def num_faces(self) -> int:
        """Different faces, whatever the number of seeds."""
        return len(self.faces) // len(self.seeds)

    def summary(self, picture: str = INPUT) -> dict[str, Spread]:
        """Every metric's mean over the faces of ``input`` or a restorer, as mean and spread over the seeds."""
        by_seed: dict[str, list[float]] = {}
        for seed in self.seeds:
            rows = [face.scores[picture] for face in self.faces if face.seed == seed]
            means = {name: mean(row[name] for row in rows) for name in rows[0]}
            for name, value in (means | self.distances.get(seed, {}).get(picture, {})).items():
                by_seed.setdefault(name, []).append(value)
        return {name: spread_of(by_seed[name]) for name in self.metrics if name in by_seed}

    def ratio(self, restorer: str) -> dict[str, float]:
        """A restorer's means divided by the input's; below 1 is a gain for a distance."""
        before, after = self._means(INPUT), self._means(restorer)
        return {name: ratio_of(after[name], before[name]) for name in before}

    def difference(self, restorer: str) -> dict[str, float]:
        """A restorer's means minus the input's; the gain in decibels."""
        before, after = self._means(INPUT), self._means(restorer)
        return {name: after[name] - before[name] for name in before}

    def ratio_to_target(self, restorer: str) -> dict[str, float]:
        """A restorer's means divided by the target's, for metrics that it has; but see :meth:`share_above_target`."""
        after = self._means(restorer)
        return {
            name: ratio_of(after[name], value) for name, value in self.target.items() if not name.endswith(TO_OTHERS)
        }

    def share_above_target(self, restorer: str) -> dict[str, float]:
        """Share of the input's excess distance to other people's faces that remains after restoration.

        0 is as near to them as the truths, whose distance is a floor above zero; 1 is as far as the input.
        """
        before, after = self._means(INPUT), self._means(restorer)
        return {
            name: ratio_of(after[name] - floor, before[name] - floor)
            for name, floor in self.target.items()
            if name.endswith(TO_OTHERS)
        }

    def _means(self, picture: str) -> dict[str, float]:
        return {name: spread.mean for name, spread in self.summary(picture).items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for :func:`memgan.runtime.atomic_file.write_json`."""
        own = dataclasses.asdict(self)

        def each(figures: Callable[[str], dict[str, float]]) -> dict[str, dict[str, float]]:
            return {restorer: figures(restorer) for restorer in self.restorers}

        return {
            "num_faces": self.num_faces,
            "seeds": self.seeds,
            "restorers": list(self.restorers),
            "metrics": own["metrics"],
            "means": {
                picture: {name: dataclasses.asdict(spread) for name, spread in self.summary(picture).items()}
                for picture in (INPUT, *self.restorers)
            },
            "ratio_to_input": each(self.ratio),
            "difference_to_input": each(self.difference),
            f"ratio_to_{self.target_name}": each(self.ratio_to_target),
            f"share_above_{self.target_name}": each(self.share_above_target),
            self.target_name: {"num_pictures": self.num_target, "means": self.target},
            "distances": {str(seed): table for seed, table in self.distances.items()},
            "notes": list(self.notes),
            "left_out": self.left_out,
            "faces": list(own["faces"]),
        }


def ratio_of(value: float, base: float) -> float:
    """Quotient; NaN if there is nothing to divide by."""
    return value / base if base else math.nan


def mean(values: Iterable[float]) -> float:
    """Mean of the defined values (NIQE has none for a picture without texture); NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def spread_of(values: list[float]) -> Spread:
    """Mean and spread over seeds."""
    if len(values) < 2:
        return Spread(values[0])
    finite = all(math.isfinite(value) for value in values)
    return Spread(math.fsum(values) / len(values), statistics.stdev(values) if finite else math.nan)


def result_table(result: EvaluationResult) -> str:
    """One row per metric: input, every restorer with its gain (ratio; dB: difference), target."""
    head = ["", "better", INPUT]
    for restorer in result.restorers:
        head += [restorer, "to input"]
    head.append(result.target_name)
    rows = []
    after = [result.summary(restorer) for restorer in result.restorers]
    for name, given in result.summary().items():
        info = result.metrics[name]
        row = [name, "higher" if info.higher_is_better else "lower", _cell(given)]
        for means in after:
            row += [_cell(means[name]), _gain(info, given.mean, means[name].mean)]
        row.append(f"{result.target[name]:.4f}" if name in result.target else "-")
        rows.append(row)
    title = f"{result.num_faces} faces"
    if result.target_name == "truth":
        title += f", seeds {', '.join(map(str, result.seeds))}"
    elif result.num_target:
        title += f", {result.num_target} reference pictures"
    return "\n".join([title, text_table(head, rows, left=2), *_remarks(result)])


def _gain(info: MetricInfo, before: float, after: float) -> str:
    if info.unit == "dB":
        return f"{after - before:.3f} dB"
    return f"x {ratio_of(after, before):.3f}"


def _remarks(result: EvaluationResult) -> list[str]:
    lines = []
    for restorer in result.restorers:
        for name, ratio in result.ratio_to_target(restorer).items():
            lines.append(f"{name}: {restorer} / {result.target_name} = {ratio:.3f}")
        for name, share in result.share_above_target(restorer).items():
            lines.append(f"{name}, above the {result.target_name}'s: {restorer} / {INPUT} = {share:.3f}")
    lines += [f"{name}: {result.metrics[name].made_by}" for name in result.summary()]
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"left out: {name}: {reason}" for name, reason in result.left_out.items()]
    return lines


def _cell(spread: Spread) -> str:
    return f"{spread.mean:.4f}" if spread.std is None else f"{spread.mean:.4f} ± {spread.std:.4f}"
