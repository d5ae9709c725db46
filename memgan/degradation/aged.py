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
)
from memgan.degradation.jpeg import LUMA, Codec, compress
from memgan.degradation.random_draw import RandomDraw
from memgan.degradation.thumbnail import Thumbnail, thumbnail
from memgan.errors import ConfigError

_SCREEN_DEGREES = (15.0, 75.0, 0.0)
"""Usual screen angles of cyan, magenta and yellow, which absorb red, green and blue."""


@dataclasses.dataclass(frozen=True)
class Aging:
    """Probability of every kind of damage, and its ranges, both ends included. Lengths are for 512 px.

    Raises:
        ConfigError: if a probability or a range is not allowed.
    """

    gray: float = 0.4
    """Probability of a black and white photograph; half of these are sepia."""
    faded: float = 0.3
    """Probability of raised blacks, weak contrast and a color cast."""
    motion: float = 0.25
    """Probability of a straight motion blur."""
    motion_px: tuple[float, float] = (4.0, 24.0)
    """Its length in pixels."""
    halftone: float = 0.3
    """Probability of a halftone print: a screen of dots for each ink, strongest in the middle tones. Eq. 14 is then
    mild, see :meth:`memgan.degradation.Degradation.mild`."""
    halftone_px: tuple[float, float] = (3.0, 10.0)
    """Period of its dots in pixels."""
    halftone_strength: tuple[float, float] = (0.05, 0.4)
    """Its largest change, as a share of the range of values."""
    thumbnail: float = 0.3
    """Probability, without a halftone, of a small sharpened copy (:func:`memgan.degradation.thumbnail.thumbnail`). It
    replaces Eq. 14, with the same JPEG and, half the time, a third of the noise."""
    thumbnail_factor: tuple[float, float] = (1.5, 7.0)
    """Downscale of the copy from 512 px."""
    thumbnail_sharpening: tuple[float, float] = (0.2, 2.5)
    """Amount of unsharp masking."""
    thumbnail_sharpening_px: tuple[float, float] = (0.5, 1.5)
    """Standard deviation of its blur, in pixels of the copy."""
    grain: float = 0.5
    """Probability of film grain: luminance noise, strongest in the middle tones."""
    grain_sigma: tuple[float, float] = (3.0, 14.0)
    """Its standard deviation in 8-bit levels."""
    grain_px: tuple[float, float] = (1.0, 4.0)
    """Its size in pixels."""
    scratches: float = 0.3
    """Probability of scratches: light or dark lines across a part of the picture."""
    scratch_count: tuple[int, int] = (1, 5)
    """How many."""
    recompressed: float = 0.5
    """Probability of a second JPEG compression, on another block grid than the first, as sharing a picture leaves."""
    recompressed_quality: tuple[int, int] = (30, 90)
    """Its quality."""

    def __post_init__(self) -> None:
        for name in ("gray", "faded", "motion", "halftone", "thumbnail", "grain", "scratches", "recompressed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it is a probability: from 0 to 1.")
        allowed = {
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
        for name, (least, most) in allowed.items():
            checked_range(name, getattr(self, name), least, most)


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
        images: (B, 3, H, W) RGB in [-1, 1], sides >= 8 px.
        seeds: B integers from 0 to 2**63 - 1.
        settings: probabilities and ranges; ``None``: the defaults.
        degradation: ranges of Eq. 14, which is applied too; ``None``: the paper's.
        codec: see :func:`memgan.degradation.eq14.degrade_seeded`.

    Returns:
        targets and degraded pictures, both (B, 3, H, W) in [-1, 1], dtype and device of ``images``.

    Raises:
        ShapeError, ImageError, ConfigError: as :func:`memgan.degradation.eq14.degrade_seeded`.
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
            levels = thumbnail((moved + 1) * 127.5, _thumbnail_of(settings, ranges, draw, _unit(moved)), noise, codec)
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


def _thumbnail_of(settings: Aging, ranges: Degradation, draw: RandomDraw, unit: float) -> Thumbnail:
    noise = draw.uniform(*ranges.noise_sigma) / 3 if draw.bernoulli(0.5) else 0.0  # sharpening multiplies it
    return Thumbnail(
        factor=max(1.0, draw.uniform(*settings.thumbnail_factor) * unit),
        noise_sigma=noise,
        sharpening=draw.uniform(*settings.thumbnail_sharpening),
        sharpening_sigma=draw.uniform(*settings.thumbnail_sharpening_px),
        jpeg_quality=draw.integer(*ranges.jpeg_quality),
    )


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
        grain = torch.randn(1, 1, *coarse, generator=noise, device=levels.device)
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
    y, x = torch.meshgrid(*(torch.arange(side, device=levels.device) for side in levels.shape[-2:]), indexing="ij")
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
    y, x = torch.meshgrid(
        torch.linspace(0, 1, height, device=levels.device),
        torch.linspace(0, 1, width, device=levels.device),
        indexing="ij",
    )
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
