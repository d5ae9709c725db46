"""Compresses pictures as JPEG: with libjpeg on the CPU, or by the same steps in torch on any device."""

import functools
import io
import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from memgan.errors import ImageError

Codec = Literal["auto", "real", "simulated"]
"""``real``: libjpeg. ``simulated``: the same steps in torch. ``auto``: real on the CPU, else simulated."""
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in the luminance of JPEG (ITU-R BT.601, ITU-T T.871)


def compress(levels: Tensor, quality: int, codec: Codec) -> Tensor:
    """Compress (3, H, W) RGB of integers in [0, 255] by ``codec``, which is not ``auto``, and decode it."""
    return (jpeg_simulated if codec == "simulated" else jpeg_real)(levels, quality)


def jpeg_real(levels: Tensor, quality: int) -> Tensor:
    """Encode and decode (3, H, W) RGB of integers in [0, 255] with libjpeg (4:2:0); any device."""
    import cv2  # not needed by the GPU path

    rgb = levels.to("cpu", torch.uint8).permute(1, 2, 0).numpy()
    good, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ImageError(f"OpenCV could not write a JPEG of shape {rgb.shape} at quality {quality}.")
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]  # OpenCV's order is BGR
    return torch.from_numpy(decoded.copy()).permute(2, 0, 1).to(levels)


def jpeg_simulated(levels: Tensor, quality: int) -> Tensor:
    """Compute the pixels of :func:`jpeg_real` in torch: YCbCr, 4:2:0, 8x8 DCT, quantization, and back."""
    height, width = levels.shape[-2:]
    pad = (0, -width % 16, 0, -height % 16)
    red, green, blue = F.pad(levels[None], pad, mode="replicate")[0]
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    chroma = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402]) + 128  # (2, H, W)
    luma = _quantized(luma.round()[None], _tables(quality)[0])[0]
    chroma = _quantized(F.avg_pool2d(chroma.round(), 2).round(), _tables(quality)[1])
    chroma = F.interpolate(chroma[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    blueness, redness = chroma.round() - 128
    mixed = luma - 0.344136 * blueness - 0.714136 * redness
    rgb = torch.stack([luma + 1.402 * redness, mixed, luma + 1.772 * blueness])
    return rgb.round().clamp(0, 255)[:, :height, :width]


@functools.cache
def _tables(quality: int) -> tuple[list[int], list[int]]:
    """libjpeg's quantization tables of luminance and chrominance, row by row, as Pillow reads them from a file."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(file, formats=("JPEG",)) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization")  # noqa: B009 - of JPEG files only: not typed
        return tables[0], tables[1]


def _quantized(planes: Tensor, table: list[int]) -> Tensor:
    """Quantize the 8x8 DCT of (N, H, W) planes, sides multiples of 8."""
    steps = torch.tensor(table).view(8, 8).to(planes)
    position = torch.arange(8, dtype=torch.float64)
    dct = torch.cos((2 * position + 1) * position[:, None] * math.pi / 16) / 2
    dct[0] /= math.sqrt(2)
    dct = dct.to(planes)
    n, height, width = planes.shape
    blocks = (planes - 128).view(n, height // 8, 8, width // 8, 8).transpose(2, 3)  # (N, H/8, W/8, 8, 8)
    coefficients = (dct @ blocks @ dct.T / steps).round() * steps
    blocks = (dct.T @ coefficients @ dct).transpose(2, 3)
    return (blocks.reshape(n, height, width) + 128).round().clamp(0, 255)
