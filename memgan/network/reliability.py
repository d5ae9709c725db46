"""Estimates how far a restored face is from the truth: a map of its expected error, and whether it is the person still.

The estimator is a small network that looks at the face as it was given and at what the restorer made of it. So it is
the same for every form in which the restorer runs. Most of what it needs is in the energies of a few frequency bands:
detail of the picture that the input does not have is made up.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memgan.errors import ConfigError, ShapeError, shown
from memgan.network.config import read_fields
from memgan.network.state import load_checked

BLOCK_PX = 16
"""Side in pixels of the blocks for which the error is estimated."""
RISK_DISTANCE = 0.45
"""Distance by dlib's face recognition network above which a restored face is at risk of being another person's."""
KNOT_SETTINGS = (0.0, 0.5, 1.0)
"""Settings of the fidelity dial at which the calibration is fitted; it is interpolated between them."""
ERROR_KNOTS = 12
DISTANCE_KNOTS = 6
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
_BANDS = 4  # of a Laplacian pyramid, below which a block is one number
_FLOOR = 0.25  # levels added to energies before their logarithm: rounding to counts leaves as much
_RANGES = {"stem_channels": 256, "channels": 512, "blocks": 16}
_MAX_SIZE = 1024


class ReliabilityEstimate(NamedTuple):
    """What is expected of restored faces."""

    expected_error: Tensor
    """(B, S/16, S/16) float32: expected absolute error of the brightness (BT.601), mean of each block of 16 px, in
    levels of 255."""
    identity_distance: Tensor
    """(B,) float32: expected distance to the true face by dlib's recognition network."""
    risk: Tensor
    """(B,) float32: probability that this distance is above :data:`RISK_DISTANCE`."""


@dataclasses.dataclass(frozen=True)
class ReliabilityConfig:
    """Everything needed to build an estimator.

    Raises:
        ConfigError: if a value is outside its allowed range; the message names it.
    """

    name: str = "reliability-512"
    """Name under which the weights are registered."""
    image_size: int = 512
    """Side of both pictures in pixels: a multiple of 16 up to 1024."""
    stem_channels: int = 32
    """Width where a position stands for 8 x 8 pixels."""
    channels: int = 64
    """Width where a position stands for 16 x 16 pixels or more."""
    blocks: int = 2
    """Residual blocks at 16 x 16 pixels, before and after the context is added together."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not (0 < len(self.name) <= 200 and self.name.isprintable()):
            raise ConfigError(f"name is {shown(self.name)}; allowed: 1 to 200 printable characters.")
        sizes = range(BLOCK_PX, _MAX_SIZE + 1, BLOCK_PX)
        if type(self.image_size) is not int or self.image_size not in sizes:
            raise ConfigError(
                f"image_size is {shown(self.image_size)}; allowed: multiples of {BLOCK_PX} up to {_MAX_SIZE}."
            )
        for field, most in _RANGES.items():
            value = getattr(self, field)
            if type(value) is not int or not 1 <= value <= most:
                raise ConfigError(f"{field} is {shown(value)}; allowed: whole numbers from 1 to {most}.")

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ReliabilityConfig":
        """Inverse of :meth:`to_json`; ConfigError if ``text`` is no JSON object or has unknown fields or values."""
        return cls(**read_fields(cls, text))


class ReliabilityNet(nn.Module):
    """The estimator; it computes in float32 whatever autocast says, as its share of the work is small.

    It starts uncalibrated: the maps of :class:`Calibration` change nothing until they are fitted.
    """

    def __init__(self, config: ReliabilityConfig) -> None:
        super().__init__()
        self.config = config
        self.metadata: dict[str, str] = {}
        stem, width = config.stem_channels, config.channels
        clues = 3 * (_BANDS + 1)
        self.look_at_given = nn.Conv2d(3, stem, 8, stride=8)  # two, so that nobody has to write the pictures together
        self.look_at_made = nn.Conv2d(3, stem, 8, stride=8, bias=False)
        self.fine = _Residual(stem)
        self.enter = nn.Conv2d(4 * stem + clues + 1, width, 1)
        self.place = nn.Parameter(torch.zeros(1, width, *[-(-config.image_size // 64)] * 2))
        self.blocks = nn.Sequential(*[_Residual(width) for _ in range((config.blocks + 1) // 2)])
        self.context = nn.ModuleList(_Residual(width) for _ in range(2))
        self.attend = nn.Conv2d(width, _HEADS, 1)
        self.summary = nn.Linear(_HEADS * width + clues + 1, width)
        self.spread = nn.Linear(width, width)
        self.join = nn.Sequential(*[_Residual(width) for _ in range(config.blocks // 2)])
        self.error = nn.Conv2d(width, 1, 1)
        self.direct = nn.Conv2d(clues, 1, 1)
        self.person = nn.Linear(width, 2)
        self.calibration = Calibration()
        with torch.no_grad():  # it starts from a fair guess: the error is as large as the detail of the picture
            self.direct.weight.zero_()
            self.direct.weight[:, 1:7:3] = 0.5

    def forward(self, degraded: Tensor, restored: Tensor, fidelity: Tensor) -> ReliabilityEstimate:
        """Estimate how far restored faces are from the truth.

        Args:
            degraded: (B, 3, S, S) RGB in [-1, 1], the faces as the restorer was given them.
            restored: (B, 3, S, S) RGB in [-1, 1], what its network made of them.
            fidelity: (B,) in [0, 1], the setting of the dial at which it did.

        Raises:
            ShapeError: if the shapes are not these, with S of the configuration.
        """
        raw = self.raw(degraded, restored, fidelity)
        estimate: ReliabilityEstimate = self.calibration(raw, fidelity.to(raw.log_error))
        return estimate

    def raw(self, degraded: Tensor, restored: Tensor, fidelity: Tensor) -> "RawEstimate":
        """The same before calibration."""
        size = self.config.image_size
        if not (degraded.shape == restored.shape == (len(fidelity), 3, size, size) and fidelity.ndim == 1):
            raise ShapeError(
                f"The pictures have the shapes {tuple(degraded.shape)} and {tuple(restored.shape)} and the settings "
                f"{tuple(fidelity.shape)}; needed: (B, 3, {size}, {size}) twice and (B,)."
            )
        with torch.autocast(degraded.device.type, enabled=False):
            given, made, setting = degraded.float(), restored.float(), fidelity.float()
            clues = band_clues(given, made)
            x = self.fine(F.relu(self.look_at_given(given) + self.look_at_made(made)))
            dial = (setting * 2 - 1).view(-1, 1, 1, 1)
            x = torch.cat([F.pixel_unshuffle(x, 2), clues, dial.expand(-1, 1, *clues.shape[2:])], 1)
            x = self.enter(x)
            x = self.blocks(F.relu(x + F.interpolate(self.place, x.shape[2:], mode="bilinear", align_corners=False)))
            wider = [x]
            for block in self.context:
                wider.append(block(F.avg_pool2d(wider[-1], 2, ceil_mode=True)))
            shares = self.attend(x).flatten(2).softmax(2)
            seen = torch.cat([(shares @ x.flatten(2).mT).flatten(1), clues.mean((2, 3)), dial.flatten(1)], 1)
            summary = F.relu(self.summary(seen))
            for i in (2, 1):
                wider[i - 1] = wider[i - 1] + F.interpolate(
                    wider[i], wider[i - 1].shape[2:], mode="bilinear", align_corners=False
                )
            x = self.join(F.relu(wider[0] + self.spread(summary)[:, :, None, None]))
            distance, odds = self.person(summary).unbind(1)
            # Typical values are added, so that the first steps of training need not find the scale.
            log_error = self.error(x) + self.direct(clues) + 2
            return RawEstimate(log_error[:, 0], F.softplus(distance - 1), odds - 2)


def build_reliability(config: ReliabilityConfig, state: Mapping[str, Tensor] | None = None) -> ReliabilityNet:
    """An estimator with the tensors of a weight file, or fresh ones.

    Raises:
        StateMismatchError: naming missing, unexpected and misshapen tensors.
    """
    network = ReliabilityNet(config)
    if state is not None:
        load_checked(network, config.name, state)
    return network


class RawEstimate(NamedTuple):
    """What the network says before calibration."""

    log_error: Tensor
    """(B, S/16, S/16) logarithm of the error."""
    distance: Tensor
    """(B,) identity distance."""
    odds: Tensor
    """(B,) logarithm of the odds that the distance is above :data:`RISK_DISTANCE`."""


class Calibration(nn.Module):
    """Makes the estimates right on average, which networks are not on pictures that they have not seen.

    Error and distance pass through monotone maps, the risk through two numbers (Platt, 1999).
    """

    def __init__(self) -> None:
        super().__init__()
        self.error = MonotoneMap(torch.linspace(-1.0, 4.5, ERROR_KNOTS, dtype=torch.float32))
        self.distance = MonotoneMap(torch.linspace(0.1, 0.6, DISTANCE_KNOTS, dtype=torch.float32))
        self.slope: Tensor
        self.offset: Tensor
        self.register_buffer("slope", torch.ones(len(KNOT_SETTINGS)))
        self.register_buffer("offset", torch.zeros(len(KNOT_SETTINGS)))

    def forward(self, raw: RawEstimate, fidelity: Tensor) -> ReliabilityEstimate:
        """Calibrated estimates; ``fidelity`` is (B,) in [0, 1]."""
        shares = setting_shares(fidelity)
        return ReliabilityEstimate(
            self.error(raw.log_error, shares).exp().clamp_max(255),
            self.distance(raw.distance, shares).clamp_min(0),
            torch.sigmoid((shares @ self.slope) * raw.odds + shares @ self.offset),
        )


class MonotoneMap(nn.Module):
    """A piecewise linear, increasing function for each of :data:`KNOT_SETTINGS`, of slope 1 outside its knots."""

    def __init__(self, knots: Tensor) -> None:
        super().__init__()
        self.knots: Tensor
        self.values: Tensor
        # Vectors, not a matrix: weight files keep them in single precision.
        self.register_buffer("knots", knots.repeat(len(KNOT_SETTINGS)))
        self.register_buffer("values", knots.repeat(len(KNOT_SETTINGS)))

    def fit(self, setting: int, knots: Tensor, values: Tensor) -> None:
        """Take the knots, strictly ascending, and values, ascending, of one of :data:`KNOT_SETTINGS` by its place."""
        self.knots.view(len(KNOT_SETTINGS), -1)[setting] = knots
        self.values.view(len(KNOT_SETTINGS), -1)[setting] = values

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """(B, ...) numbers, with the share of each setting, (B, 3) -> the same shape."""
        result = torch.zeros_like(x)
        for place in range(len(KNOT_SETTINGS)):
            knots, values = (t.view(len(KNOT_SETTINGS), -1)[place] for t in (self.knots, self.values))
            mapped = piecewise_linear(x, knots, values)
            result = result + shares[:, place].view(-1, *[1] * (x.ndim - 1)) * mapped
        return result


def piecewise_linear(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """The function through (K,) knots, ascending, and (K,) values, at every number of ``x``; slope 1 outside."""
    place = torch.searchsorted(knots, x.detach().contiguous()).clamp(1, len(knots) - 1)
    left, right = knots[place - 1], knots[place]
    inside = x.clamp(knots[0], knots[-1])
    share = (inside - left) / (right - left)
    return torch.lerp(values[place - 1], values[place], share) + (x - inside)


def setting_shares(fidelity: Tensor) -> Tensor:
    """(B,) settings in [0, 1] -> (B, 3) shares of :data:`KNOT_SETTINGS`, linear between neighbors."""
    settings = torch.tensor(KNOT_SETTINGS, dtype=torch.float32, device=fidelity.device)
    return (1 - (fidelity.float()[:, None] - settings).abs() / (settings[1] - settings[0])).clamp_min(0)


def luma(image: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in [-1, 1] -> (B, 1, H, W) float32 brightness by BT.601 in levels of 255."""
    red, green, blue = (image[:, channel : channel + 1].float() for channel in range(3))
    return (red * (_LUMA[0] * 127.5)).add_(green, alpha=_LUMA[1] * 127.5).add_(blue, alpha=_LUMA[2] * 127.5).add_(127.5)


def block_error(restored: Tensor, truth: Tensor) -> Tensor:
    """What is estimated: two (B, 3, S, S) RGB in [-1, 1] -> (B, S/16, S/16) mean absolute error of each block."""
    return F.avg_pool2d((luma(restored) - luma(truth)).abs(), BLOCK_PX)[:, 0]


def band_clues(degraded: Tensor, restored: Tensor) -> Tensor:
    """Two (B, 3, S, S) RGB in [-1, 1] -> (B, 15, S/16, S/16): log of the detail in each block, and its brightness.

    The detail is the mean magnitude of each band of a Laplacian pyramid (Burt and Adelson, 1983), in that of the
    degraded faces, of the restored ones, and of what was changed.
    """
    level = torch.cat([luma(degraded), luma(restored)], 1)
    maps = []
    for band in range(_BANDS):
        below = F.avg_pool2d(level, 2)
        detail = level - F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)
        energies = F.avg_pool2d(torch.cat([detail, detail[:, 1:] - detail[:, :1]], 1).abs(), BLOCK_PX >> band)
        maps.append(energies.add(_FLOOR).log() - 1)
        level = below
    level = level / 127.5 - 1
    return torch.cat([*maps, level, level[:, 1:] - level[:, :1]], 1)


_HEADS = 4  # places that the summary may look at


class _Residual(nn.Module):
    """Two 3x3 convolutions around which the features pass; the second starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), same out."""
        added: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + added
