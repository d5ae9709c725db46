"""Degrades faces by Eq. 14: blur, downsampling, noise, JPEG and upsampling, with one seed per picture.

    y = {[(x * k_delta) down_s + n_sigma]_JPEG_q} up_s

Parameters are drawn uniformly for every picture. A seed fixes its degraded picture, whatever else is in the batch.

Choices where the paper is silent:

- Both resamplings are bilinear with half-pixel centers and no anti-aliasing (OpenCV's ``INTER_LINEAR``). In this
  model the blur before them limits the bandwidth.
- The blur kernel reaches three standard deviations; borders are mirrored.
- Noise is independent per channel; ``noise_sigma`` is its standard deviation in 8-bit levels.
- The picture is clamped and rounded to 8 bit before JPEG and again at the end, so that a degraded picture equals
  its own PNG file. JPEG uses 4:2:0 chroma.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.degradation.jpeg import Codec, compress
from memgan.degradation.random_draw import RandomDraw
from memgan.errors import ConfigError, ImageError, ShapeError

REFERENCE_SIZE_PX = 512  # side of the faces that the paper's ranges are for
_OVERSHOOT = 8.0  # a generator's picture leaves [-1, 1] a little; a picture in 8-bit levels leaves it by far


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Ranges, both ends included, from which Eq. 14 draws; the defaults are the paper's.

    Raises:
        ConfigError: if a range is reversed or leaves what is allowed.
    """

    blur_sigma: tuple[float, float] = (0.2, 10.0)  # of a Gaussian, in pixels of the picture; 0: no blur
    downscale: tuple[float, float] = (1.0, 8.0)  # real-valued factor by which the picture is shrunk
    noise_sigma: tuple[float, float] = (0.0, 15.0)  # in 8-bit levels
    jpeg_quality: tuple[int, int] = (60, 100)

    def __post_init__(self) -> None:
        allowed = {"blur_sigma": (0, 100), "downscale": (1, 64), "noise_sigma": (0, 255), "jpeg_quality": (1, 100)}
        for field, (least, most) in allowed.items():
            object.__setattr__(self, field, checked_range(field, getattr(self, field), least, most))
        if any(v != int(v) for v in self.jpeg_quality):
            raise ConfigError(f"jpeg_quality is {self.jpeg_quality!r}; both ends must be integers.")
        object.__setattr__(self, "jpeg_quality", tuple(int(v) for v in self.jpeg_quality))

    def at_size(self, size_px: int) -> "Degradation":
        """The ranges for faces of ``size_px`` instead of 512 px: blur and downscale, which are lengths, in proportion.

        A downscale by 2 leaves 256 px of 512 px, more than a face of 64 px has, which is therefore not downscaled.
        """
        if size_px == REFERENCE_SIZE_PX:
            return self
        share = size_px / REFERENCE_SIZE_PX
        low, high = (min(sigma * share, 100.0) for sigma in self.blur_sigma)
        least, most = (min(max(factor * share, 1.0), 64.0) for factor in self.downscale)
        return dataclasses.replace(self, blur_sigma=(low, high), downscale=(least, most))

    def mild(self) -> "Degradation":
        """The mildest third of every range, as in most of today's photographs.

        Of the whole ranges, one draw in eighty is as mild in all four parameters.
        """
        milder = {
            name: (low, low + (high - low) / 3) for name, (low, high) in vars(self).items() if name != "jpeg_quality"
        }
        low, high = self.jpeg_quality
        return Degradation(**milder, jpeg_quality=(high - (high - low) // 3, high))


@dataclasses.dataclass(frozen=True)
class DegradationParameters:
    """Parameters of Eq. 14 drawn for one picture; units as in :class:`Degradation`."""

    blur_sigma: float
    downscale: float
    noise_sigma: float
    jpeg_quality: int


def draw_parameters(seed: int, settings: Degradation | None = None) -> DegradationParameters:
    """Draw the parameters of one picture from its seed, the same on every device; ``None``: the paper's ranges."""
    settings = settings or Degradation()
    draw = RandomDraw(torch.Generator().manual_seed(seed))
    low, high = settings.jpeg_quality
    return DegradationParameters(
        blur_sigma=draw.uniform(*settings.blur_sigma),
        downscale=draw.uniform(*settings.downscale),
        noise_sigma=draw.uniform(*settings.noise_sigma),
        jpeg_quality=low + int(draw.uniform(0, 1) * (high - low + 1)),
    )


@torch.no_grad()
def degrade_seeded(
    images: Tensor, seeds: Iterable[int], *, settings: Degradation | None = None, codec: Codec = "auto"
) -> Tensor:
    """Degrade a batch with one given seed per picture (Eq. 14).

    The parameters depend on the seed alone. The noise depends on the seed and the kind of device, because CPU and GPU
    draw different numbers. Gradients do not flow.

    Args:
        images: (B, 3, H, W) RGB, any float dtype, in [-1, 1]; a slight overshoot is clamped. Sides >= 8 px.
        seeds: B integers from 0 to 2**63 - 1.
        settings: ranges; ``None``: the paper's.
        codec: ``real``: libjpeg on the CPU. ``simulated``: the same steps in torch, on the picture's device.
            ``auto``: real for pictures on the CPU, else simulated.

    Returns:
        (B, 3, H, W) in [-1, 1], every value an 8-bit level; dtype and device of ``images``.

    Raises:
        ShapeError: if ``images`` has another shape, or the number of seeds differs from B.
        ImageError: if the dtype is not floating, or values are not finite or far outside [-1, 1].
        ConfigError: if ``codec`` is unknown.
    """
    seeds = list(seeds)
    codec = checked_codec(images, seeds, codec)
    out = torch.empty_like(images)
    for index, seed in enumerate(seeds):
        noise = torch.Generator(images.device).manual_seed(seed)
        out[index] = apply_degradation(images[index], draw_parameters(seed, settings), noise, codec=codec)
    return out


@torch.no_grad()
def apply_degradation(
    image: Tensor, parameters: DegradationParameters, generator: torch.Generator, *, codec: Codec = "real"
) -> Tensor:
    """Degrade one (3, H, W) picture in [-1, 1] with known parameters; ``generator``, on its device, draws the noise."""
    height, width = image.shape[-2:]
    levels = (image.float().clamp(-1, 1) + 1) * 127.5
    levels = gaussian_blur(levels, parameters.blur_sigma)
    small = [max(1, round(side / parameters.downscale)) for side in (height, width)]
    levels = _bilinear(levels, small)
    noise = torch.randn(levels.shape, generator=generator, dtype=levels.dtype, device=levels.device)
    levels = (levels + parameters.noise_sigma * noise).clamp(0, 255).round()
    levels = _bilinear(compress(levels, parameters.jpeg_quality, codec), [height, width])
    return (levels.clamp(0, 255).round() / 127.5 - 1).to(image.dtype)


def gaussian_blur(levels: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur of (C, H, W); the kernel reaches three sigma, or as far as mirroring allows."""
    if sigma <= 0:
        return levels
    down, right = (_gaussian(sigma, side) for side in levels.shape[1:])
    if levels.device.type == "cpu":
        import cv2  # five to fifteen times faster there than torch's convolutions; not needed by the GPU path

        border = cv2.BORDER_REFLECT_101
        return by_plane(
            lambda plane: cv2.sepFilter2D(plane, -1, right.numpy(), down.numpy(), borderType=border), levels
        )
    for kernel in (down.view(1, 1, -1, 1), right.view(1, 1, 1, -1)):
        high, wide = (side // 2 for side in kernel.shape[2:])
        padded = F.pad(levels[:, None], (wide, wide, high, high), mode="reflect")
        levels = F.conv2d(padded, kernel.to(levels))[:, 0]
    return levels


def by_plane(filtered: Callable[[np.ndarray], np.ndarray], levels: Tensor) -> Tensor:
    """Apply a function of (H, W) float32 arrays to every plane of (C, H, W) on the CPU; keeps the dtype."""
    planes = levels.float().numpy()
    out = np.empty_like(planes)
    for index, plane in enumerate(planes):
        out[index] = filtered(plane)
    return torch.from_numpy(out).to(levels)


def checked_range(name: str, value: Any, least: float, most: float) -> tuple[Any, Any]:
    """``value`` as (low, high) within [least, most], or a :class:`ConfigError`."""
    numeric = isinstance(value, tuple | list) and all(isinstance(v, int | float) for v in value)
    if not numeric or len(value) != 2 or not least <= value[0] <= value[1] <= most:
        raise ConfigError(f"{name} is {value!r}; allowed: (low, high) with {least} <= low <= high <= {most}.")
    return value[0], value[1]


def _gaussian(sigma: float, side: int) -> Tensor:
    radius = min(math.ceil(3 * sigma), side - 1)
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    return kernel / kernel.sum()


def _bilinear(levels: Tensor, size: list[int]) -> Tensor:
    if list(levels.shape[-2:]) == size:
        return levels
    return F.interpolate(levels[None], size=size, mode="bilinear", align_corners=False)[0]


def checked_codec(images: Tensor, seeds: list[int], codec: Codec) -> Codec:
    """Check the arguments of :func:`degrade_seeded`, which documents the errors, and resolve the codec ``auto``."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < 8:
        raise ShapeError(f"The pictures have shape {shape}; needed: (B, 3, H, W) with sides of at least 8 px.")
    if len(seeds) != len(images):
        raise ShapeError(f"{len(seeds)} seeds were given for {len(images)} pictures; give one for each.")
    if codec not in get_args(Codec):
        raise ConfigError(f"codec is {codec!r}; allowed: {', '.join(get_args(Codec))}.")
    if not images.is_floating_point():
        raise ImageError(f"The pictures are {images.dtype}; needed: floating point in [-1, 1].")
    if len(images) and not images.abs().amax() <= _OVERSHOOT:  # False for NaN too
        raise ImageError("The pictures hold NaN or values far outside [-1, 1]; divide 8-bit levels by 127.5, minus 1.")
    if codec == "auto":
        return "real" if images.device.type == "cpu" else "simulated"
    return codec
