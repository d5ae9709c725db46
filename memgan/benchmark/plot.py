"""Curves over a logarithmic axis, drawn with Pillow: enough to see whether they are flat."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from memgan.benchmark.scaling import Scaling
from memgan.image import Picture, save_picture

_WIDTH, _HEIGHT = 640, 300  # of one panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 34, 40
_NUM_TICKS = 5
_GRID, _CURVE, _TEXT = (215, 215, 215), (30, 90, 170), (20, 20, 20)

Points = Sequence[tuple[float, float]]


def write_scaling_plot(scaling: Scaling, path: Path) -> None:
    """Draw time per picture, memory, and time per face, each over the number of items.

    Raises:
        OutputError: if the file cannot be written.
    """
    panels = [("milliseconds per picture / pictures", [(n, 1e3 * s) for n, s in scaling.intervals()])]
    memory = [(mark.count, mark.resident / 1e6) for mark in scaling.pictures if mark.resident is not None]
    if memory:
        panels.append(("resident memory in MB / pictures", memory))
    panels.append(
        ("milliseconds per face / faces in one picture", [(m.count, 1e3 * m.seconds / m.count) for m in scaling.faces])
    )
    sheet = np.concatenate([draw_curve(title, points) for title, points in panels])
    save_picture(Picture(sheet), path)


def draw_curve(title: str, points: Points) -> np.ndarray:
    """(300, 640, 3) uint8: values from 0 up over a logarithmic axis.

    Args:
        title: a line in ASCII.
        points: (x, y), x ascending from 1 on, y not negative; at least one.
    """
    panel = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default_imagefont()
    draw.text((_LEFT, 10), title, fill=_TEXT, font=font)
    top_value = _round_up(max(y for _, y in points))
    decades = max(1, math.ceil(math.log10(max(x for x, _ in points))))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (_WIDTH - _LEFT - _RIGHT) * math.log10(x) / decades
        return _LEFT + across, _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * y / top_value

    for tick in range(_NUM_TICKS + 1):
        value = top_value * tick / _NUM_TICKS
        draw.line([place(1, value), place(10**decades, value)], fill=_GRID)
        draw.text((8, place(1, value)[1] - 6), f"{value:.4g}", fill=_TEXT, font=font)
    for power in range(decades + 1):
        draw.line([place(10**power, 0), place(10**power, top_value)], fill=_GRID)
        draw.text((place(10**power, 0)[0] - 6, _HEIGHT - _BOTTOM + 8), f"{10**power}", fill=_TEXT, font=font)
    places = [place(x, y) for x, y in points]
    draw.line(places, fill=_CURVE, width=2)
    for x, y in places:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_CURVE)
    return np.asarray(panel)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
