"""Putting restored faces back: only the face's region is touched, with exact geometry at any enlargement."""

import cv2
import numpy as np

from memgan.errors import ImageError, ShapeError
from memgan.faces.grain import missing_grain
from memgan.faces.mask import soft_mask
from memgan.faces.warp import compose_affine, invert_affine, resize_matrix, warp

# A change of this many levels (of 255), averaged over a neighbourhood, counts as a full replacement.
_FULL_CHANGE = 2.0
_NEIGHBOURHOOD = 1 / 24  # of the crop's side


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
    _check(canvas, restored, crop, mask)
    size = restored.shape[0]
    scale_x, scale_y = upscale if isinstance(upscale, tuple) else (upscale, upscale)
    canvas_from_crop = compose_affine(resize_matrix(scale_x, scale_y), invert_affine(crop_from_image))
    region = _region(canvas_from_crop, size, canvas.shape[1], canvas.shape[0])
    result = canvas.copy()
    if region is None:
        return result
    left, top, right, bottom = region
    matrix = canvas_from_crop.copy()
    matrix[:, 2] -= (left, top)
    width, height = right - left, bottom - top

    weight = np.asarray(soft_mask(size) if mask is None else mask, np.float32)
    if crop is None:
        base, change, amount = restored, np.zeros(restored.shape, np.float32), weight
    else:
        base, change = crop, restored.astype(np.float32) - crop
        amount = weight * _amount_of_change(change)
    layers = np.dstack([change * weight[:, :, None], amount])
    layers = warp(layers, matrix, width, height, cv2.BORDER_CONSTANT)
    base = warp(base.astype(np.float32), matrix, width, height, cv2.BORDER_REPLICATE)

    patch = result[top:bottom, left:right]
    unit = 257.0 if canvas.dtype == np.uint16 else 1.0  # one level of 255 in counts of the canvas
    old = patch.astype(np.float32)
    amount = np.clip(layers[:, :, 3:], 0, 1)
    blended = old + unit * layers[:, :, :3] + amount * (unit * base - old)
    noise = missing_grain(old / unit, blended / unit, amount[:, :, 0]) if grain else None
    if noise is not None:
        blended += (grain * unit * noise)[:, :, None]
    patch[:] = np.clip(np.rint(blended), 0, 255 * unit).astype(canvas.dtype)
    return result


def _amount_of_change(change: np.ndarray) -> np.ndarray:
    """(S, S) in [0, 1]: the change (S, S, 3) in levels, averaged around each pixel, 1 from two levels on."""
    side = max(3, round(change.shape[0] * _NEIGHBOURHOOD))
    around = cv2.blur(np.abs(change).mean(axis=2), (side, side), borderType=cv2.BORDER_REFLECT_101)
    return np.minimum(around / _FULL_CHANGE, 1)


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
