"""Enlarges pictures tile by tile, straight into the size that is wanted: no larger picture is ever held."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from memgan.image import resize

Enlarge = Callable[[np.ndarray], np.ndarray]
"""(h, w, 3) of a picture to the same part at another size, in the same counts: uint8, uint16 or float32."""

_ROWS = 64  # of a result that are made at once
_FEW = 16  # means that share one product of matrices


class _Span(NamedTuple):
    """A tile along one side of a picture."""

    source: slice
    """With its overlap, in pixels of the picture."""
    target: slice
    """Without, in pixels of the result."""


def enlarge_in_tiles(rgb: np.ndarray, size: tuple[int, int], enlarge: Enlarge, tile: int, overlap: int) -> np.ndarray:
    """Enlarge a picture by tiles, each of which is brought to the scale of the result at once.

    Where ``enlarge`` gives more pixels than are wanted, each pixel of the result is the mean over its area, wherever a
    tile ends. Where it gives fewer, a Lanczos filter first enlarges them by a whole number.

    Args:
        rgb: (H, W, 3) uint8 or uint16.
        size: width and height of the result.
        enlarge: of a tile; has to enlarge all alike.
        tile: side of a tile in pixels of ``rgb``, without its overlap.
        overlap: pixels around a tile that are enlarged with it and thrown away; more if a pixel of the result covers
            more.

    Returns:
        (height, width, 3) of the type of ``rgb``.
    """
    (width, height), (rows, columns) = size, rgb.shape[:2]
    peak = np.iinfo(rgb.dtype).max
    result = np.empty((height, width, 3), rgb.dtype)
    for above in _spans(rows, height, tile, overlap):
        for before in _spans(columns, width, tile, overlap):
            part = rgb[above.source, before.source]
            large = enlarge(part)
            least = part.shape[0] * math.ceil(height / rows), part.shape[1] * math.ceil(width / columns)
            if large.shape[0] < least[0] or large.shape[1] < least[1]:
                large = resize(large, least[1], least[0], cv2.INTER_LANCZOS4)
            down = _edges(above, rows / height, large.shape[0] / part.shape[0])
            across = _edges(before, columns / width, large.shape[1] / part.shape[1])
            for start in range(0, len(down) - 1, _ROWS):
                few = _area_means(large, down[start : start + _ROWS + 1], across)
                if few.dtype != rgb.dtype:
                    few = np.clip(np.rint(few), 0, peak)
                first = above.target.start + start
                result[first : first + len(few), before.target] = few
    return result


def _spans(source: int, target: int, tile: int, overlap: int) -> Iterator[_Span]:
    """Tiles along a side of ``source`` pixels that becomes ``target`` pixels long; each pixel belongs to one."""
    reach = overlap * max(1, math.ceil(source / target / overlap))
    for start in range(0, source, tile):
        end = min(start + tile, source)
        first, last = (math.ceil(place * target / source) for place in (start, end))
        if last > first:
            yield _Span(slice(max(start - reach, 0), min(end + reach, source)), slice(first, last))


def _edges(span: _Span, step: float, scale: float) -> np.ndarray:
    """Where the pixels of a tile's result begin and end in the enlarged tile; ``step``: their side in the picture."""
    places = np.arange(span.target.start, span.target.stop + 1)
    edges: np.ndarray = (places * step - span.source.start) * scale
    return edges


def _area_means(large: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Means over the rectangles between edges, (rows, columns, 3) float32, or of the type of ``large``."""
    if _are_whole(down) and _are_whole(across):
        (top, bottom), (left, right) = down[[0, -1]].astype(int), across[[0, -1]].astype(int)
        size = len(across) - 1, len(down) - 1
        return resize(large[top:bottom, left:right], *size, cv2.INTER_AREA)
    means: np.ndarray = _means(_means(large, down).swapaxes(0, 1), across).swapaxes(0, 1)
    return means


def _are_whole(edges: np.ndarray) -> bool:
    """Whether edges have the same whole number of pixels between them, and cut none."""
    first, step = int(edges[0]), int(edges[1] - edges[0])
    return step > 0 and bool(np.array_equal(edges, first + step * np.arange(len(edges))))


def _means(large: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Means (N, ...) of the rows between each edge and the next one, of parts of rows where edges cut them."""
    means: np.ndarray = np.empty((len(edges) - 1, *large.shape[1:]), np.float32)
    for start in range(0, len(means), _FEW):
        some = edges[start : start + _FEW + 1]
        low, high = max(math.floor(some[0]), 0), min(math.ceil(some[-1]), len(large))
        rows = np.arange(low, high)
        shares = np.minimum(some[1:, None], rows + 1) - np.maximum(some[:-1, None], rows)
        shares = np.maximum(shares, 0).astype(np.float32)
        shares /= shares.sum(axis=1, keepdims=True)
        means[start : start + len(shares)] = np.tensordot(shares, large[low:high].astype(np.float32), 1)
    return means
