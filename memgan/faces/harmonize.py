"""Harmonizes a restored face with its photograph: keeps the slow variations of its colors, gives back its grain."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

# Standard deviation of the filter as a share of the crop's side: 16 px at 512. Measured on degraded faces, from 8 to 32
# px make no difference to the error of the colors; 16 px average the blocks of JPEG's chroma and still follow an iris.
_SIGMA = 1 / 32
_SMALL_SIGMA = 4.0  # pixels: a Gaussian filter of less would be told from its samples

# Bands between the plane and Gaussian filters of these standard deviations, in pixels of the canvas: noise of a picture
# that was enlarged lies in the lower ones.
_SIGMAS = (1.0, 2.0, 4.0)
_BLOCK = 9  # side of the neighborhoods whose noise is compared
_FLAT_SHARE = 25  # percentile: the flattest quarter of the neighborhoods holds noise rather than texture
_LEAST_LEVEL = 0.4  # of 255: below, rounding makes more noise
_LEAST_PIXELS = 200
_MAX_STEP = 4  # between neighborhoods that are looked at: these have most of their pixels in common
_ENOUGH_NEIGHBORHOODS = 2**14
_REACH = 20  # rows: 16 of the widest filter, 4 of a neighborhood
_INSIDE = 0.6  # from this share of the restored face on, a pixel counts as the face's


def lock_color(restored: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Replace the low frequencies of a restored face by those of the input, in all channels alike.

    Blur, noise and compression leave the low frequencies of a picture as they are, so where the restoration differs
    there it is the network's guess: paler or redder skin, another eye color.

    Args:
        restored: (S, S, 3) uint8 RGB.
        crop: (S, S, 3) uint8 RGB, what it was made from.

    Returns:
        (S, S, 3) uint8 RGB; ``restored`` itself where the two have the same low frequencies.
    """
    difference = cv2.subtract(crop, restored, dtype=cv2.CV_32F)
    size = restored.shape[0]
    sigma = max(1.0, size * _SIGMA)
    block = int(sigma / _SMALL_SIGMA)
    if block < 2 or size % block:
        low = cv2.GaussianBlur(difference, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        return cv2.add(restored, low, dtype=cv2.CV_8U)  # rounds and clips
    # A wide filter leaves nothing that a smaller picture could not hold, so it is applied to blocks of pixels: that
    # costs a tenth, and for photographs the result is the same to a small part of a level. The picture is mirrored
    # before it is made small: the blocks would be mirrored around other pixels.
    border = block * math.ceil(4 * sigma / block)
    wide = cv2.copyMakeBorder(difference, border, border, border, border, cv2.BORDER_REFLECT_101)
    side = wide.shape[0] // block
    small = cv2.resize(wide, (side, side), interpolation=cv2.INTER_AREA)
    # Averaging blocks and interpolating between them are filters too: their variance is part of what is wanted.
    left = math.sqrt(sigma**2 - (block**2 - 1) / 12 - block**2 / 6) / block
    small = cv2.GaussianBlur(small, (0, 0), left)
    low = cv2.resize(small, wide.shape[:2], interpolation=cv2.INTER_LINEAR)[border:-border, border:-border]
    return cv2.add(restored, low, dtype=cv2.CV_8U)


def missing_grain(
    look: Callable[[slice], "Look"],
    shape: tuple[int, int],
    seed: int = 0,
    seen: np.ndarray | None = None,
    *,
    strip: int | None = None,
) -> Iterator[np.ndarray] | None:
    """Noise like that which a restoration removed from a face, as far as its surroundings have it too.

    A part of a picture is looked at in strips, several times, so that a large face takes little memory.

    Args:
        look: what some of the part's rows look like; called again and again.
        shape: height H and width W of the part.
        seed: of the noise.
        seen: (H, W) bool, what belongs to the surroundings; ``None``: everything. Transparent pixels do not.
        strip: rows that are looked at at once; ``None``: all. The noise is the same, whatever it is.

    Returns:
        Strip by strip, (rows, W) float32 in levels to add to all channels; the same for the same input. ``None`` if
        nothing is missing: the surroundings are clean, or the face is as noisy as it was.
    """
    height, width = shape
    strips = row_strips(height, strip or height)
    # In a large picture not every neighborhood is needed to know how noisy the flattest quarter is.
    step = max(1, min(_MAX_STEP, math.isqrt(height * width // _ENOUGH_NEIGHBORHOODS)))

    def places(rows: slice, amount: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside, outside = amount > _INSIDE, amount < 0.1
        if seen is not None:
            # Nor do their neighbors: the step at the edge of a cut-out is no noise.
            outside &= cv2.erode(seen[rows].astype(np.uint8), np.ones((_BLOCK, _BLOCK), np.uint8)) > 0
        return inside, outside

    inside, outside = _Levels(step), _Levels(step)
    faces: list[np.ndarray] = []  # where the face is in each strip: a byte a pixel, and looking again takes longer
    for rows in strips:
        wide = _with_reach(rows, height)
        before, _, amount = look(wide)
        where = places(wide, amount)
        faces.append(where[0])
        for index, (_, power) in enumerate(_bands(before)):
            for levels, place in zip((inside, outside), where, strict=True):
                levels.add(index, power, place, rows, wide)
    if min(inside.count, outside.count) < _LEAST_PIXELS:
        return None
    wanted = [min(levels) for levels in zip(inside.values, outside.values, strict=True)]
    if max(wanted) < _LEAST_LEVEL:
        return None  # a clean photograph: most of the work is spared
    left = _Levels(step)
    for rows, face in zip(strips, faces, strict=True):
        wide = _with_reach(rows, height)
        for index, (_, power) in enumerate(_bands(look(wide).after)):
            left.add(index, power, face, rows, wide)
    missing = [
        level**2 - rest**2 if level >= _LEAST_LEVEL else 0.0 for level, rest in zip(wanted, left.values, strict=True)
    ]
    if max(missing) <= 0:
        return None
    return _grain(look, shape, strips, faces, step, missing, seed)


class Look(NamedTuple):
    """What rows of a part of a picture look like."""

    before: np.ndarray
    """(rows, W) float32, brightness (BT.601), in levels of 255."""
    after: np.ndarray
    """The same with a restored face in it."""
    amount: np.ndarray
    """(rows, W) float32 in [0, 1], how much of the restored face is seen there."""


def row_strips(height: int, strip: int) -> list[slice]:
    """All rows, so many at once."""
    return [slice(start, min(start + strip, height)) for start in range(0, height, strip)]


def _grain(
    look: Callable[[slice], Look],
    shape: tuple[int, int],
    strips: list[slice],
    faces: list[np.ndarray],
    step: int,
    missing: list[float],
    seed: int,
) -> Iterator[np.ndarray]:
    """The noise of each strip; ``faces``: where the face is in it, ``missing``: power of each band."""

    levels = _Levels(step)
    kept: list[np.ndarray] = []
    for rows, face, plane in zip(strips, faces, _white(shape, strips, seed), strict=True):
        wide = _with_reach(rows, shape[0])
        for index, (band, power) in enumerate(_bands(plane)):
            levels.add(index, power, face, rows, wide)
            if len(strips) == 1:  # of more it would be too much
                kept.append(band)
    shares = [
        np.sqrt(power) / max(level, 1e-6) if power > 0 else 0.0
        for power, level in zip(missing, levels.values, strict=True)
    ]
    again = ([band for band, _ in _bands(plane)] for plane in _white(shape, strips, seed))
    for rows, bands in zip(strips, [kept] if kept else again, strict=True):
        wide = _with_reach(rows, shape[0])
        within = slice(rows.start - wide.start, rows.stop - wide.start)
        grain = np.zeros((rows.stop - rows.start, shape[1]), np.float32)
        for share, band in zip(shares, bands, strict=True):
            if share > 0:
                grain += band[within] * share
        grain *= look(rows).amount
        yield grain


def _white(shape: tuple[int, int], strips: list[slice], seed: int) -> Iterator[np.ndarray]:
    """White noise of each strip and the rows around it: in all strips together, that of the whole plane."""
    source = np.random.default_rng(seed)
    drawn, first = np.empty((0, shape[1]), np.float32), 0
    for rows in strips:
        wide = _with_reach(rows, shape[0])
        new = source.standard_normal((wide.stop - first - len(drawn), shape[1]), np.float32)
        drawn, first = np.concatenate([drawn[wide.start - first :], new]), wide.start
        yield drawn


def _bands(plane: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each band, and its mean square in the neighborhood of each pixel."""
    fine = plane
    for sigma in _SIGMAS:
        coarse = cv2.GaussianBlur(plane, (0, 0), sigma)
        band, fine = fine - coarse, coarse
        yield band, cv2.blur(band * band, (_BLOCK, _BLOCK))


def _with_reach(rows: slice, height: int) -> slice:
    """The rows that those of a band and its neighborhoods depend on."""
    return slice(max(rows.start - _REACH, 0), min(rows.stop + _REACH, height))


class _Levels:
    """The typical amplitude of each band in the flattest neighborhoods of a place.

    Args:
        step: from one neighborhood that is looked at to the next; all are looked at where these are too few.
    """

    def __init__(self, step: int) -> None:
        self.count = 0
        """Pixels of the place."""
        self._step = step
        self._few: list[list[np.ndarray]] = [[] for _ in _SIGMAS]
        self._all: list[list[np.ndarray]] = [[] for _ in _SIGMAS]

    def add(self, index: int, power: np.ndarray, place: np.ndarray, rows: slice, wide: slice) -> None:
        """Take in a strip of a band.

        Args:
            index: of the band.
            power, place: mean squares and what belongs to the place, of the rows ``wide``.
            rows: those of them that count.
        """
        within = slice(rows.start - wide.start, rows.stop - wide.start)
        power, place = power[within], place[within]
        if index == 0:
            self.count += np.count_nonzero(place)
        few, every = self._few[index], self._all[index]
        some = slice(-rows.start % self._step, None, self._step), slice(None, None, self._step)
        few.append(power[some][place[some]])
        if sum(map(len, few)) < _LEAST_PIXELS:
            every.append(power[place])
        else:
            every.clear()

    @property
    def values(self) -> list[float]:
        """Of each band."""
        return [
            float(np.sqrt(np.percentile(np.concatenate(every or few), _FLAT_SHARE)))
            for few, every in zip(self._few, self._all, strict=True)
        ]
