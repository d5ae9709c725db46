"""Pastes restored faces back: only the face's region is touched, with exact geometry at any enlargement."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from memgan.errors import ImageError, ShapeError
from memgan.faces.harmonize import Look, missing_grain, row_strips
from memgan.faces.warp import invert_affine, rescale_affine, square_bounds, warp

# A change of this many levels (of 255), averaged over a neighborhood, counts as a full replacement.
_FULL_CHANGE = 2.0
_NEIGHBORHOOD = 1 / 24  # of the crop's side
_CACHED_PIXELS = 2**14
# A face with a larger square is pasted in strips of about so many pixels, each of which takes about 70 bytes meanwhile.
_WHOLE_PIXELS = 2**22
_STRIP_PIXELS = 2**20
_LEAST_ROWS = 64  # of a strip: some of its neighbors' rows are looked at too
_ROUNDNESS = 6.0
_FEATHER = 0.2  # width of the mask's falling part, as a share of half the side


@functools.lru_cache(maxsize=8)
def soft_mask(size_px: int = 512) -> np.ndarray:
    """Rounded square that is 1 in the middle and falls smoothly to 0 at the edges of the crop.

    Returns:
        (S, S) float32 in [0, 1], read-only; its outermost pixels are 0.
    """
    half = (size_px - 1) / 2
    position = np.abs(np.arange(size_px) - half) / half
    # The p-norm's level lines are squares with rounded corners: no corner of the crop can be seen.
    radius = np.add.outer(position**_ROUNDNESS, position**_ROUNDNESS) ** (1 / _ROUNDNESS)
    ramp = np.clip((1 - radius) / _FEATHER, 0, 1)
    mask: np.ndarray = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    mask.setflags(write=False)
    return mask


def paste(
    canvas: np.ndarray,
    restored: np.ndarray,
    crop_from_image: np.ndarray,
    upscale: float | tuple[float, float] = 1.0,
    mask: np.ndarray | None = None,
    *,
    crop: np.ndarray | None = None,
    alpha: np.ndarray | None = None,
    grain: float = 0.0,
    grain_seed: int = 0,
    inplace: bool = False,
    exact: bool = True,
) -> np.ndarray:
    """Blend one restored face into a picture.

    Without ``crop`` the masked part of the canvas is replaced, which also blurs what the network left alone. With
    ``crop``, the network's input, only what the network changed is: with W the way from crop to canvas,
    d = restored - crop and k the amount of change around a pixel (0 none, 1 from two levels on), the result is

        canvas + W(mask d) + W(mask k) (W(crop) - canvas).

    What the network leaves alone keeps every pixel; elsewhere, old noise and scratches do not shine through.

    Args:
        canvas: (H, W, 3) RGB, uint8 or uint16: the picture, enlarged by ``upscale``.
        restored: (S, S, 3) uint8 RGB, the network's output.
        crop_from_image: (2, 3) similarity from the *original* picture's coordinates to the crop's, from ``align``.
        upscale: side of the canvas over side of the original picture; may be a pair (horizontal, vertical).
        mask: (S, S) float in [0, 1]; ``None``: :func:`soft_mask`. Has to vanish at its edges, or a seam is seen.
        crop: (S, S, 3) uint8 RGB, the aligned input that ``restored`` was made from.
        alpha: (H, W), the canvas's transparency, 0 for what is hidden: that keeps its color, and says nothing about
            the surroundings' noise. ``None``: nothing is hidden.
        grain: share, 0 to 1, of the noise to give back that was lost although the surroundings have it, see
            :func:`~memgan.faces.harmonize.missing_grain`.
        grain_seed: of that noise.
        inplace: change ``canvas`` itself, so that a large one is not copied for every face.
        exact: see :func:`~memgan.faces.warp.warp`; for films ``False``.

    Returns:
        An array like ``canvas``, rounded and clipped; pixels outside the crop's square are unchanged.

    Raises:
        ShapeError: if crop, restored and mask differ in size, canvas and alpha do, or the canvas is not (H, W, 3).
        ImageError: if an array has another dtype.
    """
    _check(canvas, restored, crop, mask, alpha)
    canvas = canvas if inplace else canvas.copy()
    size = restored.shape[0]
    scales = upscale if isinstance(upscale, tuple) else (upscale, upscale)
    matrix = rescale_affine(invert_affine(crop_from_image), *scales)
    low, high = square_bounds(matrix, size)
    left, top = np.maximum(low, 0).tolist()
    right, bottom = np.minimum(high + 1, canvas.shape[1::-1]).tolist()
    if left >= right or top >= bottom:
        return canvas
    matrix[:, 2] -= (left, top)
    weight = np.asarray(soft_mask(size) if mask is None else mask, np.float32)
    nothing = np.zeros_like(weight)
    planes: Sequence[np.ndarray] = (nothing, nothing, nothing, weight)
    if crop is not None:
        red, green, blue = cv2.split(cv2.subtract(restored, crop, dtype=cv2.CV_32F))
        change = np.abs(red) + np.abs(green) + np.abs(blue)
        side = max(3, round(size * _NEIGHBORHOOD))
        around = cv2.blur(change, (side, side), borderType=cv2.BORDER_REFLECT_101)
        amount = np.minimum(around / (3 * _FULL_CHANGE), 1) * weight
        planes = (red * weight, green * weight, blue * weight, amount)
    base = (restored if crop is None else crop).astype(np.float32)
    seen = None if alpha is None else alpha[top:bottom, left:right] > 0
    _blend(canvas[top:bottom, left:right], cv2.merge(planes), base, matrix, grain, grain_seed, seen, exact=exact)
    return canvas


class _Part(NamedTuple):
    """Some rows of the canvas with a face in them."""

    blended: np.ndarray
    """(rows, W, 3) float32, not rounded, in counts of the canvas."""
    look: Look


def _blend(
    patch: np.ndarray,
    layers: np.ndarray,
    base: np.ndarray,
    matrix: np.ndarray,
    grain: float,
    grain_seed: int,
    seen: np.ndarray | None,
    *,
    exact: bool,
) -> None:
    """Put the face into the part of the canvas under it, strip by strip.

    Args:
        patch: (H, W, 3) uint8 or uint16; changed.
        layers: (S, S, 4) float32: the masked change of the channels, and how much of ``patch`` gives way to ``base``.
        base: (S, S, 3) float32, the crop in levels of 255.
        matrix: (2, 3), from the crop's coordinates to those of ``patch``.
        grain, grain_seed, exact: see :func:`paste`.
        seen: (H, W) bool, where the surroundings can be seen; ``None``: everywhere.
    """
    height, width = patch.shape[:2]
    unit = np.float32(257 if patch.dtype == np.uint16 else 1)  # one level of 255 in counts of the canvas

    @functools.lru_cache(maxsize=1)  # a small face is one strip, made once
    def part(first: int, last: int) -> _Part:
        moved = matrix - [[0, 0, 0], [0, 0, first]]
        change = warp(layers, moved, width, last - first, cv2.BORDER_CONSTANT, exact=exact)
        below = warp(base, moved, width, last - first, cv2.BORDER_REPLICATE, exact=exact)
        if seen is not None:
            change *= seen[first:last, :, None]
        return _blended(patch[first:last], change, below, unit)

    step = height if height * width <= _WHOLE_PIXELS else max(_LEAST_ROWS, _STRIP_PIXELS // width)
    noise = None
    if grain:
        noise = missing_grain(
            lambda rows: part(rows.start, rows.stop).look, (height, width), grain_seed, seen, strip=step
        )
    for rows in row_strips(height, step):
        blended = part(rows.start, rows.stop).blended
        if noise is not None:
            blended += cv2.cvtColor(grain * unit * next(noise), cv2.COLOR_GRAY2RGB)
        np.rint(blended, out=blended)
        patch[rows] = np.clip(blended, 0, 255 * unit, out=blended)


def _blended(patch: np.ndarray, layers: np.ndarray, base: np.ndarray, unit: np.float32) -> _Part:
    """Rows of the canvas, (H, W, 3), under layers (H, W, 4) and base (H, W, 3), which is used up."""
    amount = np.clip(cv2.extractChannel(layers, 3), 0, 1)
    before, after = np.empty_like(amount), np.empty_like(amount)
    # In parts whose intermediate results stay in the processor's cache.
    for rows in row_strips(len(amount), max(1, _CACHED_PIXELS // amount.shape[1])):
        old = patch[rows].astype(np.float32)
        blended = base[rows]
        blended *= unit
        blended -= old
        blended *= cv2.cvtColor(amount[rows], cv2.COLOR_GRAY2RGB)
        blended += old
        blended += unit * cv2.cvtColor(layers[rows], cv2.COLOR_RGBA2RGB)
        before[rows] = cv2.cvtColor(old, cv2.COLOR_RGB2GRAY) / unit
        after[rows] = cv2.cvtColor(blended, cv2.COLOR_RGB2GRAY) / unit
    return _Part(base, Look(before, after, amount))


def _check(
    canvas: np.ndarray,
    restored: np.ndarray,
    crop: np.ndarray | None,
    mask: np.ndarray | None,
    alpha: np.ndarray | None,
) -> None:
    if canvas.ndim != 3 or canvas.shape[2] != 3:
        raise ShapeError(f"canvas has shape {canvas.shape}; allowed is (H, W, 3)")
    if restored.shape != (len(restored), len(restored), 3):
        raise ShapeError(f"restored face has shape {restored.shape}; allowed is a square (S, S, 3)")
    if crop is not None and crop.shape != restored.shape:
        raise ShapeError(f"crop has shape {crop.shape}, restored face {restored.shape}; they must be equal")
    if mask is not None and mask.shape != restored.shape[:2]:
        raise ShapeError(f"mask has shape {mask.shape}; for this face {restored.shape[:2]} is needed")
    if alpha is not None and alpha.shape != canvas.shape[:2]:
        raise ShapeError(f"alpha has shape {alpha.shape}; for this canvas {canvas.shape[:2]} is needed")
    if canvas.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"canvas has dtype {canvas.dtype}; allowed are uint8 and uint16")
    for name, array in (("restored face", restored), ("crop", crop)):
        if array is not None and array.dtype != np.uint8:
            raise ImageError(f"{name} has dtype {array.dtype}; allowed is uint8 (see memgan.image.to_uint8)")
