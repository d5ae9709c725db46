"""Converts pixels to tensors and back, and resizes."""

import cv2
import numpy as np
import torch
from torch import Tensor

from memgan.errors import ImageError, ShapeError


def to_tensor(rgb: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 or uint16 RGB to a float32 tensor (3, H, W) in [-1, 1].

    Raises:
        ShapeError, ImageError: if the array has another shape or dtype.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ShapeError(f"expected an array (H, W, 3), got {rgb.shape}")
    if rgb.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"expected uint8 or uint16, got {rgb.dtype}; see memgan.image.from_array")
    half = 127.5 if rgb.dtype == np.uint8 else 32767.5
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1)).astype(np.float32)
    return torch.from_numpy(planes).div_(half).sub_(1.0)


def to_uint8(tensor: Tensor) -> np.ndarray:
    """Tensor (3, H, W) or (B, 3, H, W) in [-1, 1] to uint8 RGB (H, W, 3) or (B, H, W, 3), clamped and rounded.

    Raises:
        ShapeError: if the tensor has another shape.
    """
    if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3:
        raise ShapeError(f"expected a tensor (3, H, W) or (B, 3, H, W), got {tuple(tensor.shape)}")
    # The bytes are made on the tensor's own device: a quarter of the data to copy from an accelerator.
    counts = tensor.detach().float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    array: np.ndarray = counts.movedim(-3, -1).contiguous().cpu().numpy()
    return array


def resize(array: np.ndarray, width: int, height: int, interpolation: int | None = None) -> np.ndarray:
    """Resize (H, W) or (H, W, C) to ``height`` x ``width``; the dtype is kept, integers are rounded and clipped.

    Args:
        interpolation: an OpenCV constant; ``None``: area averaging to shrink, Lanczos to enlarge.
    """
    if (array.shape[1], array.shape[0]) == (width, height):
        return np.array(array)
    if interpolation is None:
        shrinks = width <= array.shape[1] and height <= array.shape[0]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return cv2.resize(array, (width, height), interpolation=interpolation)
