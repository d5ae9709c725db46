"""Ages clean faces into old photographs: no color, fading, motion blur, halftone, small copies, grain, scratches, JPEG.

The paper has none of these. What the photograph *is* (black and white, faded) is part of the target, because a
restorer keeps its colors. What damaged it (motion, a halftone print, a small sharpened copy, grain, scratches, a second
compression) is in the degraded picture only.
"""

import dataclasses
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.degradation.eq14 import (
    Degradation,
    apply_degradation,
    by_plane,
    checked_codec,
    checked_range,
    draw_parameters,
    gaussian_blur,
)
from memgan.degradation.jpeg import LUMA, Codec, compress
from memgan.degradation.random_draw import RandomDraw
from memgan.errors import ConfigError

_SCREEN_DEGREES = (15.0, 75.0, 0.0)  # usual ones of cyan, magenta and yellow, which absorb red, green and blue
_ALLOWED = {
    "motion_px": (0, 512),
    "halftone_px": (2, 64),
    "halftone_strength": (0, 1),
    "thumbnail_factor": (1, 64),
    "thumbnail_sharpening": (0, 10),
    "thumbnail_sharpening_px": (0, 10),
    "grain_sigma": (0, 255),
    "grain_px": (1, 64),
    "scratch_count": (1, 100),
    "recompressed_quality": (1, 100),
}


@dataclasses.dataclass(frozen=True)
class Aging:
    """Probability of every kind of damage, and its ranges, both ends included. Lengths are for 512 px.

    Raises:
        ConfigError: if a probability or a range is not allowed.
    """

    gray: float = 0.4  # black and white; half of these are sepia
    faded: float = 0.3  # raised blacks, weak contrast and a color cast
    motion: float = 0.25  # straight motion blur
    motion_px: tuple[float, float] = (4.0, 24.0)
    halftone: float = 0.3  # a screen of dots for each ink, strongest in the middle tones; Eq. 14 is then mild
    halftone_px: tuple[float, float] = (3.0, 10.0)  # period of the dots
    halftone_strength: tuple[float, float] = (0.05, 0.4)  # largest change, as a share of the range of values
    thumbnail: float = 0.3  # of faces without a halftone, see :func:`thumbnail`; replaces Eq. 14
    thumbnail_factor: tuple[float, float] = (1.5, 7.0)  # downscale from 512 px
    thumbnail_sharpening: tuple[float, float] = (0.2, 2.5)  # amount of unsharp masking
    thumbnail_sharpening_px: tuple[float, float] = (0.5, 1.5)  # sigma of its blur in pixels of the copy
    grain: float = 0.5  # luminance noise, strongest in the middle tones
    grain_sigma: tuple[float, float] = (3.0, 14.0)  # in 8-bit levels
    grain_px: tuple[float, float] = (1.0, 4.0)  # size
    scratches: float = 0.3  # light or dark lines across a part of the picture
    scratch_count: tuple[int, int] = (1, 5)
    recompressed: float = 0.5  # a second JPEG on another block grid than the first, as sharing a picture leaves
    recompressed_quality: tuple[int, int] = (30, 90)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in _ALLOWED:
                checked_range(name, value, *_ALLOWED[name])
            elif not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value!r}; it is a probability: from 0 to 1.")


@torch.no_grad()
def age_seeded(
    images: Tensor,
    seeds: Iterable[int],
    *,
    settings: Aging | None = None,
    degradation: Degradation | None = None,
    codec: Codec = "auto",
) -> tuple[Tensor, Tensor]:
    """Turn clean faces into old photographs and degrade these; one seed per picture fixes both.

    Args:
        images, seeds, codec: as for :func:`memgan.degradation.degrade_seeded`, which names the errors too.
        settings: probabilities and ranges; ``None``: the defaults.
        degradation: ranges of Eq. 14, which is applied too; ``None``: the paper's.

    Returns:
        targets and degraded pictures, both (B, 3, H, W) in [-1, 1], dtype and device of ``images``.
    """
    seeds = list(seeds)
    codec = checked_codec(images, seeds, codec)
    settings, ranges = settings or Aging(), degradation or Degradation()
    wanted, degraded = torch.empty_like(images), torch.empty_like(images)
    for index, seed in enumerate(seeds):
        draw = RandomDraw(torch.Generator().manual_seed(seed))
        wanted[index] = _photograph(images[index].float().clamp(-1, 1), settings, draw)
        noise = torch.Generator(images.device).manual_seed(seed)
        moved = wanted[index]
        if draw.bernoulli(settings.motion):
            moved = _motion(moved, draw.uniform(*settings.motion_px), draw.uniform(0, math.pi))
        printed = draw.bernoulli(settings.halftone)
        if not printed and draw.bernoulli(settings.thumbnail):
            sigma = draw.uniform(*ranges.noise_sigma) / 3 if draw.bernoulli(0.5) else 0.0  # sharpening multiplies it
            levels = thumbnail(
                (moved + 1) * 127.5,
                noise,
                codec,
                factor=max(1.0, draw.uniform(*settings.thumbnail_factor) * _unit(moved)),
                noise_sigma=sigma,
                sharpening=draw.uniform(*settings.thumbnail_sharpening),
                sharpening_sigma=draw.uniform(*settings.thumbnail_sharpening_px),
                jpeg_quality=draw.integer(*ranges.jpeg_quality),
            )
        else:
            # Where the dots of a print are visible, it was not blurred or downscaled much.
            parameters = draw_parameters(seed, ranges.mild() if printed else ranges)
            levels = (apply_degradation(moved, parameters, noise, codec=codec).float() + 1) * 127.5
        if printed:
            levels = _printed(levels, settings, draw)
        degraded[index] = _damaged(levels, settings, draw, noise, codec) / 127.5 - 1
    return wanted, degraded


def _photograph(image: Tensor, settings: Aging, draw: RandomDraw) -> Tensor:
    if draw.bernoulli(settings.gray):
        light = (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True).expand(3, -1, -1)
        tone = draw.uniform(0, 0.12) if draw.bernoulli(0.5) else 0.0
        # Sepia: red above and blue below the luminance, least at black and white.
        image = light + (1 - light.square()) * light.new_tensor((tone, 0.0, -tone)).view(3, 1, 1)
    if draw.bernoulli(settings.faded):
        black, contrast = draw.uniform(0, 0.3), draw.uniform(0.6, 1)
        cast = image.new_tensor([draw.uniform(-0.06, 0.06) for _ in range(3)]).view(3, 1, 1)
        image = (image + 1) * contrast * (1 - black / 2) + black - 1 + cast
    return image.clamp(-1, 1)


@torch.no_grad()
def thumbnail(
    levels: Tensor,
    noise: torch.Generator,
    codec: Codec,
    *,
    factor: float,
    noise_sigma: float,
    sharpening: float,
    sharpening_sigma: float,
    jpeg_quality: int,
) -> Tensor:
    """Downsample by cubic interpolation, add noise, sharpen, compress, upsample by cubic interpolation.

    Cameras and web pages do this. Unlike Eq. 14 it leaves halos along edges, and sharpened noise and JPEG blocks.

    Args:
        levels: (3, H, W) float32 in [0, 255].
        noise: source of the noise, on the device of ``levels``.
        factor: how many times smaller, at least 1.
        noise_sigma: in 8-bit levels of the small copy.
        sharpening: share of the detail above a blur of ``sharpening_sigma`` pixels of the copy that is added.

    Returns:
        (3, H, W), integers in [0, 255].
    """
    size = list(levels.shape[-2:])
    small = _cubic(levels, [max(8, round(side / factor)) for side in size])
    small = small + noise_sigma * torch.randn(small.shape, generator=noise, dtype=small.dtype, device=small.device)
    small = small + sharpening * (small - gaussian_blur(small, sharpening_sigma))
    return _cubic(compress(small.clamp(0, 255).round(), jpeg_quality, codec), size).clamp(0, 255).round()


def _cubic(levels: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(levels[None], size=size, mode="bicubic", align_corners=False, antialias=True)[0]


def _motion(image: Tensor, length: float, angle: float) -> Tensor:
    """Average over a straight path of ``length`` pixels of 512."""
    length *= _unit(image)
    side = 2 * math.ceil(length / 2) + 1
    steps = max(2, 4 * side)
    along = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps - 0.5
    kernel = torch.zeros(side, side, dtype=torch.float64)
    middle = side // 2
    for x, y in zip(along * length * math.cos(angle), along * length * math.sin(angle), strict=True):
        left, top = math.floor(x), math.floor(y)  # shared bilinearly by four pixels, so that no angle is jagged
        for row, part in ((top, 1 - (y - top)), (top + 1, y - top)):
            for column, share in ((left, 1 - (x - left)), (left + 1, x - left)):
                if abs(row) <= middle and abs(column) <= middle:
                    kernel[row + middle, column + middle] += part * share
    kernel /= kernel.sum()
    if image.device.type == "cpu":
        import cv2  # ten times faster there; not needed on a GPU

        border = cv2.BORDER_REPLICATE
        return by_plane(lambda plane: cv2.filter2D(plane, -1, kernel.numpy(), borderType=border), image)
    padded = F.pad(image[:, None], (middle,) * 4, mode="replicate")
    return F.conv2d(padded, kernel.to(image)[None, None])[:, 0]


def _damaged(levels: Tensor, settings: Aging, draw: RandomDraw, noise: torch.Generator, codec: Codec) -> Tensor:
    """Add grain and scratches to (3, H, W) in [0, 255], compress it again, and round it."""
    height, width = levels.shape[-2:]
    unit = _unit(levels)
    if draw.bernoulli(settings.grain):
        size, sigma = draw.uniform(*settings.grain_px) * unit, draw.uniform(*settings.grain_sigma)
        coarse = [max(1, round(side / max(size, 1.0))) for side in (height, width)]
        grain = torch.randn(1, 1, *coarse, generator=noise, dtype=levels.dtype, device=levels.device)
        grain = F.interpolate(grain, (height, width), mode="bicubic", align_corners=False)[0]
        light = levels.mean(0, keepdim=True) / 255
        levels = levels + sigma * grain * (0.4 + 2.4 * light * (1 - light))
    if draw.bernoulli(settings.scratches):
        for _ in range(draw.integer(*settings.scratch_count)):
            levels = _scratched(levels, draw, unit)
    levels = levels.clamp(0, 255).round()
    if draw.bernoulli(settings.recompressed):
        quality = draw.integer(*settings.recompressed_quality)
        shift = draw.integer(0, 7), draw.integer(0, 7)
        rolled = torch.roll(levels, shift, (1, 2))
        levels = torch.roll(compress(rolled, quality, codec), (-shift[0], -shift[1]), (1, 2))
    return levels


def _unit(image: Tensor) -> float:
    """Pixels of this picture per pixel of one of 512 px."""
    return max(image.shape[-2:]) / 512


def _printed(levels: Tensor, settings: Aging, draw: RandomDraw) -> Tensor:
    """Halftone (3, H, W), keeping the mean; without colors all inks share the screen of black."""
    period = max(2.0, draw.uniform(*settings.halftone_px) * _unit(levels))
    strength, turn = draw.uniform(*settings.halftone_strength), draw.uniform(0, math.pi / 2)
    colorless = bool((levels - levels[:1]).abs().max() < 2)  # JPEG leaves a difference of one level
    shifts = [[draw.uniform(0, 2 * math.pi) for _ in range(2)] for _ in _SCREEN_DEGREES]
    sides = (torch.arange(side, dtype=levels.dtype, device=levels.device) for side in levels.shape[-2:])
    y, x = torch.meshgrid(*sides, indexing="ij")
    screens = []
    for degrees, (right, down) in zip((0.0,) if colorless else _SCREEN_DEGREES, shifts, strict=False):
        angle = turn + math.radians(degrees)
        along = (x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / period) + right
        across = (y * math.cos(angle) - x * math.sin(angle)) * (2 * math.pi / period) + down
        screens.append(torch.cos(along) * torch.cos(across))
    value = levels / 255
    return levels + 255 * strength * torch.stack(screens) * 4 * value * (1 - value)


def _scratched(levels: Tensor, draw: RandomDraw, unit: float) -> Tensor:
    """Draw one bent line of random strength."""
    height, width = levels.shape[-2:]
    y, x = (torch.linspace(0, 1, side, dtype=levels.dtype, device=levels.device) for side in (height, width))
    y, x = torch.meshgrid(y, x, indexing="ij")
    if draw.bernoulli(0.25):
        y, x = x, y  # most scratches run along the film
    start, slope, bend = draw.uniform(0, 1), draw.uniform(-0.15, 0.15), draw.uniform(-0.05, 0.05)
    first = draw.uniform(-0.3, 0.8)
    last = first + draw.uniform(0.2, 1)
    thickness = draw.uniform(0.4, 1.5) * unit / max(height, width)
    away = x - (start + slope * y + bend * torch.sin(6 * y + 6 * start))
    line = torch.exp(-0.5 * (away / thickness).square()) * ((y > first) & (y < last))
    color = 255.0 if draw.bernoulli(0.7) else 0.0
    return levels + draw.uniform(0.3, 0.9) * line * (color - levels)
