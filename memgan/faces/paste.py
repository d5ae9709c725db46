"""Putting restored faces back: only the face's region is touched, with exact geometry at any enlargement."""

import cv2
import numpy as np

from memgan.errors import ImageError, ShapeError
from memgan.faces.grain import brightness, grain_between
from memgan.faces.mask import soft_mask
from memgan.faces.warp import compose_affine, invert_affine, resize_matrix, warp

# A change of this many levels (of 255), averaged over a neighborhood, counts as a full replacement.
_FULL_CHANGE = 2.0
_NEIGHBORHOOD = 1 / 24  # of the crop's side
_STRIP_PIXELS = 2**14


def paste(
    canvas: np.ndarray,
    restored: np.ndarray,
    crop_from_image: np.ndarray,
    upscale: float | tuple[float, float] = 1.0,
    mask: np.ndarray | None = None,
    *,
    crop: np.ndarray | None = None,
    grain: float = 0.0,
) -> np.ndarray:
    """Blend one restored face into a picture.

    Without ``crop`` the masked part of the canvas is replaced. That also blurs what the network left alone, because
    a face that is resampled into the crop and back loses detail. With ``crop``, the network's input, replacement is
    confined to where the network changed something: with W the way from crop to canvas, d = restored - crop and k
    the amount of change around a pixel (0 none, 1 from two levels on),

        canvas + W(mask d) + W(mask k) (W(crop) - canvas).

    So a network that changes nothing leaves every pixel as it was; where it does, the old noise and scratches do not
    shine through.

    Args:
        canvas: (H, W, 3) RGB, uint8 or uint16: the picture, enlarged by ``upscale``.
        restored: (S, S, 3) uint8 RGB, the network's output.
        crop_from_image: (2, 3) similarity from the *original* picture's coordinates to the crop's, from ``align``.
        upscale: side of the canvas over side of the original picture; a pair (horizontal, vertical) if rounding
            the canvas to whole pixels made them differ.
        mask: (S, S) float in [0, 1]; ``None``: :func:`~memgan.faces.mask.soft_mask`. Has to vanish at its edges if no
            seam shall be seen.
        crop: (S, S, 3) uint8 RGB, the aligned input that ``restored`` was made from.
        grain: share, 0 to 1, of the noise to give back that was lost although the surroundings have it, see
            :func:`~memgan.faces.grain.missing_grain`.

    Returns:
        A new array like ``canvas``, rounded and clipped; pixels outside the crop's square are unchanged.

    Raises:
        ShapeError: if crop, restored and mask differ in size, or the canvas is not (H, W, 3).
        ImageError: if an array has another dtype.
    """
    result = canvas.copy()
    paste_(result, restored, crop_from_image, upscale, mask, crop=crop, grain=grain)
    return result


def paste_(
    canvas: np.ndarray,
    restored: np.ndarray,
    crop_from_image: np.ndarray,
    upscale: float | tuple[float, float] = 1.0,
    mask: np.ndarray | None = None,
    *,
    crop: np.ndarray | None = None,
    grain: float = 0.0,
) -> None:
    """:func:`paste`, with the same arguments and errors, into ``canvas`` itself: a large one is not copied per face."""
    _check(canvas, restored, crop, mask)
    size = restored.shape[0]
    scale_x, scale_y = upscale if isinstance(upscale, tuple) else (upscale, upscale)
    canvas_from_crop = compose_affine(resize_matrix(scale_x, scale_y), invert_affine(crop_from_image))
    region = _region(canvas_from_crop, size, canvas.shape[1], canvas.shape[0])
    if region is None:
        return
    left, top, right, bottom = region
    matrix = canvas_from_crop.copy()
    matrix[:, 2] -= (left, top)
    width, height = right - left, bottom - top

    weight = np.asarray(soft_mask(size) if mask is None else mask, np.float32)
    layers = warp(_layers(restored, crop, weight), matrix, width, height, cv2.BORDER_CONSTANT)
    base = (restored if crop is None else crop).astype(np.float32)
    base = warp(base, matrix, width, height, cv2.BORDER_REPLICATE)
    _blend(canvas[top:bottom, left:right], layers, base, grain)


def _layers(restored: np.ndarray, crop: np.ndarray | None, weight: np.ndarray) -> np.ndarray:
    """(S, S, 4) float32: the masked change of the three channels, and how much of the canvas gives way to it."""
    if crop is None:
        nothing = np.zeros_like(weight)
        return cv2.merge((nothing, nothing, nothing, weight))
    changes = cv2.split(cv2.subtract(restored, crop, dtype=cv2.CV_32F))
    side = max(3, round(restored.shape[0] * _NEIGHBORHOOD))
    size_of_change = np.abs(changes[0])
    for change in changes[1:]:
        size_of_change += np.abs(change)
    around = cv2.blur(size_of_change, (side, side), borderType=cv2.BORDER_REFLECT_101)
    amount = np.minimum(around / (3 * _FULL_CHANGE), 1) * weight
    return cv2.merge((*(change * weight for change in changes), amount))


def _blend(patch: np.ndarray, layers: np.ndarray, base: np.ndarray, grain: float) -> None:
    """Put the face into the part of the canvas under it.

    Args:
        patch: (H, W, 3) uint8 or uint16; changed.
        layers: (H, W, 4) float32 of :func:`_layers`, resampled.
        base: (H, W, 3) float32, the resampled crop in levels of 255; used up.
        grain: see :func:`paste`.
    """
    unit = np.float32(257 if patch.dtype == np.uint16 else 1)  # one level of 255 in counts of the canvas
    amount = np.clip(cv2.extractChannel(layers, 3), 0, 1)
    before, after = np.empty_like(amount), np.empty_like(amount)
    strips = _strips(*amount.shape)
    for rows in strips:
        old = patch[rows].astype(np.float32)
        blended = base[rows]
        blended *= unit
        blended -= old
        blended *= cv2.cvtColor(amount[rows], cv2.COLOR_GRAY2RGB)
        blended += old
        blended += unit * cv2.cvtColor(layers[rows], cv2.COLOR_RGBA2RGB)
        if grain:
            before[rows], after[rows] = brightness(old) / unit, brightness(blended) / unit
    noise = grain_between(before, after, amount) if grain else None
    for rows in strips:
        blended = base[rows]
        if noise is not None:
            blended += cv2.cvtColor(grain * unit * noise[rows], cv2.COLOR_GRAY2RGB)
        np.rint(blended, out=blended)
        patch[rows] = np.clip(blended, 0, 255 * unit, out=blended)


def _strips(height: int, width: int) -> list[slice]:
    """Rows in parts whose intermediate results stay in the processor's cache."""
    step = max(1, _STRIP_PIXELS // width)
    return [slice(start, start + step) for start in range(0, height, step)]


def _region(matrix: np.ndarray, size: int, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom (exclusive) of the canvas pixels under a crop; ``None`` if there are none."""
    edges = np.array([[-0.5, -0.5], [size - 0.5, -0.5], [-0.5, size - 0.5], [size - 0.5, size - 0.5]])
    corners = edges @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(np.int64), 0).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(np.int64) + 1, (width, height)).tolist()
    return (left, top, right, bottom) if left < right and top < bottom else None


def _check(canvas: np.ndarray, restored: np.ndarray, crop: np.ndarray | None, mask: np.ndarray | None) -> None:
    if canvas.ndim != 3 or canvas.shape[2] != 3:
        raise ShapeError(f"canvas has shape {canvas.shape}; allowed is (H, W, 3)")
    if restored.ndim != 3 or restored.shape[2] != 3 or restored.shape[0] != restored.shape[1]:
        raise ShapeError(f"restored face has shape {restored.shape}; allowed is a square (S, S, 3)")
    if crop is not None and crop.shape != restored.shape:
        raise ShapeError(f"crop has shape {crop.shape}, restored face {restored.shape}; they must be equal")
    if mask is not None and mask.shape != restored.shape[:2]:
        raise ShapeError(f"mask has shape {mask.shape}; for this face {restored.shape[:2]} is needed")
    if canvas.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"canvas has dtype {canvas.dtype}; allowed are uint8 and uint16")
    for name, array in (("restored face", restored), ("crop", crop)):
        if array is not None and array.dtype != np.uint8:
            raise ImageError(f"{name} has dtype {array.dtype}; allowed is uint8 (see memgan.image.to_uint8)")
