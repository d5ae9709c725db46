"""Where the samples of a pixel format lie in the planes of a frame, as arrays that can be written."""

import dataclasses
import functools
import re
from typing import Any

import numpy as np

from memgan.errors import FilmError

PACKED = {
    **{"rgb24": "rgb", "bgr24": "bgr", "rgba": "rgba", "bgra": "bgra", "argb": "argb", "abgr": "abgr"},
    **{"rgb0": "rgb0", "bgr0": "bgr0", "0rgb": "0rgb", "0bgr": "0bgr", "rgb48": "rgb", "bgr48": "bgr"},
    **{"rgba64": "rgba", "bgra64": "bgra", "ya8": "ya", "ya16": "ya"},
}
"""Samples of a pixel in the order in which they lie in the only plane."""


@dataclasses.dataclass(frozen=True)
class Component:
    """Samples of one kind."""

    plane: int
    first: int = 0
    """Of the row, counted in samples."""
    step: int = 1
    subsampling: tuple[int, int] = (1, 1)
    """Columns and rows of pixels that one sample stands for."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The color samples of a pixel format; transparency is left out."""

    components: tuple[Component, ...]
    """Red, green, blue; or luma and two of chroma; or luma alone."""
    is_rgb: bool
    bits: int
    dtype: str = "u1"
    shift: int = 0
    """Bits below the sample that are not used."""

    @property
    def subsampling(self) -> tuple[int, int]:
        """Columns and rows of pixels that a sample of chroma stands for."""
        return self.components[-1].subsampling

    def views(self, frame: Any) -> list[np.ndarray]:
        """(rows, columns) of each component of a frame of PyAV: views, whose samples can be written."""
        return [self._view(frame, component) for component in self.components]

    def _view(self, frame: Any, component: Component) -> np.ndarray:
        plane = frame.planes[component.plane]
        across, down = component.subsampling
        samples = np.frombuffer(plane, self.dtype).reshape(plane.height, -1)
        if plane.line_size < 0:  # stored from the bottom to the top
            samples = samples[::-1]
        columns = -(-frame.width // across)
        return samples[: -(-frame.height // down), component.first :: component.step][:, :columns]


def known_layout(name: str) -> Layout:
    """The layout of a pixel format that has one; a FilmError for others."""
    layout = layout_of(name)
    if layout is None:
        raise FilmError(f"the pixel format {name} is not read; convert the film, for example to yuv420p")
    return layout


@functools.cache
def layout_of(name: str) -> Layout | None:
    """Layout of a pixel format of FFmpeg's; ``None``: a rare one, whose frames are to be converted first."""
    from memgan.video.pyav import load_av

    pixel_format = load_av().VideoFormat(name)
    bits = pixel_format.components[0].bits
    dtype = "u1" if bits <= 8 else (">u2" if name.endswith("be") else "<u2")
    base = re.sub(r"[lb]e$", "", name)
    if base in PACKED:
        order = PACKED[base]
        colors = "rgb" if "r" in order else "y"
        components = tuple(Component(0, order.index(color), len(order)) for color in colors)
        return Layout(components, "r" in order, bits, dtype)
    if re.fullmatch(r"gbra?p\d*", base):
        return Layout((Component(2), Component(0), Component(1)), True, bits, dtype)
    if re.fullmatch(r"gray\d*", base):
        return Layout((Component(0),), False, bits, dtype)
    subsampling = (8 // pixel_format.chroma_width(8), 8 // pixel_format.chroma_height(8))
    if re.fullmatch(r"yuv[aj]?4\d\dp\d*", base):
        chroma = [Component(plane, subsampling=subsampling) for plane in (1, 2)]
        return Layout((Component(0), *chroma), False, bits, dtype)
    if re.fullmatch(r"nv(12|21|16|24|42|20)|p[024]1[0246]", base):
        u, v = (1, 0) if base in ("nv21", "nv42") else (0, 1)
        chroma = [Component(1, first, 2, subsampling) for first in (u, v)]
        return Layout((Component(0), *chroma), False, bits, dtype, 16 - bits if base[0] == "p" else 0)
    return None
