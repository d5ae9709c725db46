"""Plots how time and memory scale, over a logarithmic axis, which shows whether they are flat."""

from pathlib import Path
from typing import TYPE_CHECKING

from memgan.benchmark.scaling import Scaling
from memgan.errors import MissingDependencyError, OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL_INCHES = (6.4, 3.0)


def new_figure(num_panels: int = 1) -> "Figure":
    """An empty figure, high enough for so many panels.

    Raises:
        MissingDependencyError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "curves are plotted by matplotlib, which is not installed; get it with: pip install 'memgan[plot]'"
        ) from error
    width, height = _PANEL_INCHES
    return Figure(figsize=(width, num_panels * height), layout="constrained")


def write_scaling_plot(scaling: Scaling, path: Path) -> None:
    """Plot time per picture, memory (where the system tells it), and time per face, each over the number of items.

    Raises:
        MissingDependencyError: if matplotlib is not installed.
        OutputError: if the file cannot be written.
    """
    memory = [(mark.count, mark.resident / 1e6) for mark in scaling.pictures if mark.resident is not None]
    panels = {
        ("pictures", "ms per picture"): [(count, 1e3 * seconds) for count, seconds in scaling.seconds_per_picture],
        ("pictures", "resident memory, MB"): memory,
        ("faces in one picture", "ms per face"): [(m.count, 1e3 * m.seconds / m.count) for m in scaling.faces],
    }
    shown = {labels: points for labels, points in panels.items() if points}
    figure = new_figure(len(shown))
    for axes, ((items, quantity), points) in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown.items()):
        axes.plot(*zip(*points), marker="o")
        axes.set(xscale="log", xlabel=items, ylabel=quantity, ylim=(0, 1.1 * max(value for _, value in points)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(color="0.85")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: a type of file that matplotlib does not write
        raise OutputError(f"{path} cannot be written ({error}); give a .png file in a folder that can.") from error
