"""Plots figures, such as how the settings of the fidelity dial trade perception for distortion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memgan.errors import ConfigError, MissingDependencyError, OutputError
from memgan.evaluation.reliability import ReliabilityFigures
from memgan.evaluation.results import EvaluationResult
from memgan.hub.cache import cache_folder
from memgan.runtime.privacy import keep_private

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL_INCHES = (6.4, 3.0)
_DISTORTION = "psnr"


def new_figure(num_panels: int = 1) -> "Figure":
    """An empty figure, high enough for so many panels.

    Raises:
        MissingDependencyError: if matplotlib is not installed.
    """
    keep_private("matplotlib", folder=cache_folder())
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "curves are plotted by matplotlib, which is not installed; get it with: pip install 'memgan[plot]'"
        ) from error
    width, height = _PANEL_INCHES
    return Figure(figsize=(width, num_panels * height), layout="constrained")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure; the suffix chooses the format.

    Raises:
        OutputError: if the file cannot be written.
    """
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: a type of file that matplotlib does not write
        raise OutputError(f"{path} cannot be written ({error}); give a .png file in a folder that can.") from error


def check_dial_metrics(metrics: Sequence[str]) -> None:
    """A ConfigError if metrics do not make a plot of :func:`write_dial_plot`: PSNR is missing, or is the only one."""
    if _DISTORTION not in metrics or len(metrics) < 2:
        raise ConfigError(
            f"A plot over {_DISTORTION} needs {_DISTORTION} and another metric; given are {', '.join(metrics)}."
        )


def dial_points(
    result: EvaluationResult, dials: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """What a plot of dials shows: by metric besides PSNR and by dial, pairs of PSNR and metric for its settings.

    Args:
        dials: restorers of the result in the order of the dial's settings, by the network's name.

    Raises:
        ConfigError: see :func:`check_dial_metrics`.
    """
    measured = list(result.summary())
    check_dial_metrics(measured)
    means = {restorer: result.summary(restorer) for names in dials.values() for restorer in names}
    return {
        metric: {
            dial: [(means[name][_DISTORTION].mean, means[name][metric].mean) for name in names]
            for dial, names in dials.items()
        }
        for metric in measured
        if metric != _DISTORTION
    }


def write_dial_plot(
    result: EvaluationResult, dials: Mapping[str, Sequence[str]], settings: Sequence[float], path: Path
) -> None:
    """Plot each metric over PSNR (Blau and Michaeli, "The perception-distortion tradeoff", CVPR 2018), one panel each.

    Args:
        dials: see :func:`dial_points`.
        settings: what to write at the points of a curve.

    Raises:
        ConfigError: see :func:`dial_points`.
        MissingDependencyError: if matplotlib is not installed.
        OutputError: if the file cannot be written.
    """
    panels = dial_points(result, dials)
    figure = new_figure(len(panels))
    for axes, (metric, curves) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        for dial, points in curves.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=dial)
            for setting, point in zip(settings, points, strict=True):
                axes.annotate(f"{setting:g}", point, xytext=(4, 4), textcoords="offset points")
        better = "higher" if result.metrics[metric].higher_is_better else "lower"
        axes.set(xlabel="PSNR, dB", ylabel=f"{metric}, {better} is better")
        axes.grid(color="0.85")
        axes.legend()
    save_figure(figure, path)


def write_reliability_plot(figures: Mapping[float, ReliabilityFigures], path: Path) -> None:
    """Plot the true error of each tenth of the blocks over the expected one: on the diagonal they are equal.

    Args:
        figures: by setting of the dial, a curve each.

    Raises:
        MissingDependencyError: if matplotlib is not installed.
        OutputError: if the file cannot be written.
    """
    figure = new_figure()
    axes = figure.subplots()
    for setting, one in figures.items():
        points = [(tenth.expected, tenth.true) for tenth in one.tenths]
        axes.plot(*zip(*points, strict=True), marker="o", label=f"fidelity {setting:g}")
    axes.axline((0, 0), slope=1, color="0.6", linestyle="--", label="as expected")
    axes.set(xlabel="expected error of a tenth of the blocks, levels of 255", ylabel="true error, levels of 255")
    axes.grid(color="0.85")
    axes.legend()
    save_figure(figure, path)
