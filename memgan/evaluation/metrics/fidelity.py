"""Computes PSNR and SSIM of pictures and their truths."""

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.errors import ShapeError
from memgan.runtime.checks import check_pictures

_WINDOW_PX = 11
_SIGMA_PX = 1.5
_K1, _K2 = 0.01, 0.03


def psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio over all colors in dB; higher is more alike, infinite for equal pictures.

    Args:
        a, b: (B, 3, H, W) RGB in [-1, 1], so that the peak-to-peak range is 2; not clamped here.
        where: (H, W) bool: only these pixels count; ``None``: all.

    Returns:
        (B,) float32.

    Raises:
        ShapeError: if the shapes differ or are not of that form.
    """
    _check(a, b, where)
    error = _mean_within((a.double() - b.double()).square(), where)
    return (10 * torch.log10(4 / error)).float()


def ssim(a: Tensor, b: Tensor, where: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al., 2004), mean over positions and colors; higher is more alike, 1 for equal.

    Gaussian window of 11 px with sigma 1.5, K1 = 0.01, K2 = 0.03, range 2; windows that leave the picture are not
    counted. The same number as scikit-image's with ``gaussian_weights=True, use_sample_covariance=False``.

    Arguments, result and errors are those of :func:`psnr`; sides are at least 11 px, ``where`` is of windows' centers.
    """
    _check(a, b, where, _WINDOW_PX)
    a, b = a.float(), b.float()
    offset = torch.arange(_WINDOW_PX, dtype=a.dtype, device=a.device) - _WINDOW_PX // 2
    window = torch.exp(-0.5 * (offset / _SIGMA_PX) ** 2)
    window = window / window.sum()

    def local_mean(x: Tensor) -> Tensor:
        planes = x.flatten(0, 1)[:, None]
        planes = F.conv2d(F.conv2d(planes, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
        return planes.view(*x.shape[:2], *planes.shape[-2:])

    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a = local_mean(a * a) - mean_a.square()
    variance_b = local_mean(b * b) - mean_b.square()
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = (2 * _K1) ** 2, (2 * _K2) ** 2
    # The luminance term takes means of pictures that start at 0, not at -1.
    mean_a, mean_b = mean_a + 1, mean_b + 1
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    inner = slice(_WINDOW_PX // 2, -(_WINDOW_PX // 2))
    return _mean_within(luminance * structure, None if where is None else where[inner, inner]).float()


def _mean_within(values: Tensor, where: Tensor | None) -> Tensor:
    """(B, 3, H, W) -> (B,): mean over colors and the pixels of (H, W) ``where``; not a number if there are none."""
    return values.mean((1, 2, 3)) if where is None else values[..., where.to(values.device)].mean((1, 2))


def _check(a: Tensor, b: Tensor, where: Tensor | None, least_px: int = 1) -> None:
    check_pictures(a, b, least_px=least_px)
    if where is not None and (where.shape != a.shape[-2:] or where.dtype != torch.bool):
        raise ShapeError(
            f"where is {where.dtype} of shape {tuple(where.shape)}; needed: torch.bool of shape {tuple(a.shape[-2:])}."
        )
