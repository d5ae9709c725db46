"""Measures and plots how time and memory scale with pictures and faces, by a network so small that the rest shows."""

import dataclasses
import functools
import time
from pathlib import Path

import numpy as np
import torch

from memgan.benchmark.memory import call_in_subprocess, resident_bytes
from memgan.benchmark.synthetic_scene import draw_scene
from memgan.benchmark.timing import limited_threads, measure
from memgan.evaluation.plots import new_figure, save_figure
from memgan.network.config import MemGANConfig
from memgan.network.model import build_memgan
from memgan.restoration.restorer import MemGANRestorer

TINY = MemGANConfig(
    name="tiny", image_size=32, channel_base=256, channel_max=8, style_dim=8, latent_layers=1, memory_max_slots=4
)
"""A real network, at a thousandth of the cost."""
_NUM_PICTURES = 16  # different ones, again and again
_FACES = (1, 2, 4, 8, 16, 32, 64)  # up to the number of pictures
_SETTLED = 0.1  # share of the pictures after which memory may be expected not to grow any more


@dataclasses.dataclass(frozen=True)
class Mark:
    """The state of a run after so many items."""

    count: int
    seconds: float
    resident: int | None
    """Bytes of the process; ``None`` where the system does not tell."""


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Restoring one small picture after the other, and one picture with more and more faces."""

    pictures: tuple[Mark, ...]
    faces: tuple[Mark, ...]
    """By faces in one picture; the median time of one call."""
    faces_found: int = 1
    """In the last of the small pictures; each has one, so that every part of the work is done."""

    @property
    def exponent(self) -> float | None:
        """p of time ~ pictures**p from ten pictures on; 1: linear. ``None`` with fewer marks than two."""
        return _exponent(self.pictures, 10)

    @property
    def faces_exponent(self) -> float | None:
        """The same for faces from eight on: with fewer, the work for the picture around them counts as much."""
        return _exponent(self.faces, 8)

    @property
    def resident_growth(self) -> int | None:
        """Bytes that the process grew by after the first tenth of the pictures."""
        last = self.pictures[-1].count if self.pictures else 0
        settled = [m.resident for m in self.pictures if m.count >= _SETTLED * last and m.resident is not None]
        return settled[-1] - settled[0] if settled else None

    @property
    def seconds_per_picture(self) -> list[tuple[int, float]]:
        """(pictures done, seconds per picture since the mark before)."""
        steps = zip((Mark(0, 0.0, None), *self.pictures), self.pictures)
        return [(end.count, (end.seconds - start.seconds) / (end.count - start.count)) for start, end in steps]


def _exponent(marks: tuple[Mark, ...], least_count: int) -> float | None:
    logarithms = np.log([(mark.count, mark.seconds) for mark in marks if mark.count >= least_count])
    return float(np.polyfit(logarithms[:, 0], logarithms[:, 1], 1)[0]) if len(logarithms) > 1 else None


def milestones(last: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, ... below ``last``, and ``last``."""
    steps = [digit * 10**power for power in range(len(str(last))) for digit in (1, 2, 5)]
    return [*(step for step in steps if step < last), last]


def measure_scaling(num_pictures: int, threads: int | None = None) -> Scaling:
    """Restore so many pictures in a separate process, on the CPU, with detection.

    Raises:
        MemGANError: if the process fails.
    """
    return call_in_subprocess(_scale_here, num_pictures, threads)


def _scale_here(num_pictures: int, threads: int | None) -> Scaling:
    torch.manual_seed(0)
    over_pictures, over_faces, found = [], [], 0
    with limited_threads(threads):
        restorer = MemGANRestorer(network=build_memgan(TINY), device="cpu", upscale=1)
        pictures = [draw_scene(96, 96, 1, seed)[0] for seed in range(_NUM_PICTURES)]
        for picture in pictures[:3]:  # a warm-up
            restorer.enhance(picture)
        wanted = set(milestones(num_pictures))
        start = time.perf_counter()
        for number in range(1, num_pictures + 1):
            found = len(restorer.enhance(pictures[number % _NUM_PICTURES])[1])
            if number in wanted:
                over_pictures.append(Mark(number, time.perf_counter() - start, resident_bytes()))
        picture, faces = draw_scene(1024, 1024, max(_FACES))
        for count in (count for count in _FACES if count <= num_pictures):
            call = functools.partial(restorer.restore, picture, faces=faces[:count])
            timing = measure({count: call}, rounds=3)[count]
            over_faces.append(Mark(count, timing.seconds.median, resident_bytes()))
    return Scaling(tuple(over_pictures), tuple(over_faces), found)


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
    save_figure(figure, path)
