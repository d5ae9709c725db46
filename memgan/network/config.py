"""Describes a MemGAN generator in one frozen dataclass that travels inside the weight file."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

from memgan.errors import ConfigError, shown

FAMILIES = {
    "stylegan2": "memgan.network.stylegan2.StyleGAN2Synthesis",
    "mobile": "memgan.network.mobile.MobileSynthesis",
}
"""Synthesis networks by family: subclasses of :class:`memgan.network.synthesis.Synthesis`, imported when built."""
FusionConv = Literal["dense", "separable"]
_FORMER_NAMES = {"memory_normalise": "memory_normalize"}  # as the first weight files spell them


_TYPES: dict[Any, tuple[type, ...]] = {
    str: (str,),
    FusionConv: (str,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
    int | None: (int, type(None)),
    tuple[int, ...] | None: (tuple, type(None)),
}
"""The exact types of values by a field's annotation; JSON and callers get them wrong, and a bool is an int."""

_MAX_WIDTH = 4096
_MAX_MAP_WIDTH = 131072
"""Most channels times scale: StyleGAN2's multiplier 2 needs a quarter of it."""
_RANGES = {
    "channel_base": (1, _MAX_MAP_WIDTH),
    "channel_max": (1, _MAX_WIDTH),
    "style_dim": (1, _MAX_WIDTH),
    "latent_layers": (1, 64),
    "memory_max_slots": (1, _MAX_WIDTH),
    "memory_temperature": (1e-4, 1e4),
    "memory_decay": (0, 1),
}
_MAX_BLOCKS = 64
"""Of the encoder at one scale."""
_MAX_NAME = 200
"""Characters; the name becomes part of file names."""
_MAX_NUMBERS = 2**30
_KERNEL_AREAS = {"stylegan2": 9, "mobile": 1}
"""Of the convolutions of each family that mix channels."""


@dataclasses.dataclass(frozen=True)
class MemGANConfig:
    """Everything needed to build a generator (Sec. 3 of the paper).

    A *scale* is the side of a square feature map in pixels; scales are powers of two from 4 to ``image_size``. All
    numbers have an upper limit, far above what is of use: a configuration may come from a file of unknown origin, and
    must not ask for more memory than a computer has.

    Raises:
        ConfigError: if a value is outside its allowed range; the message names it.
    """

    name: str = "memgan-512"
    """Name under which the weights are registered."""
    family: str = "stylegan2"
    """Synthesis network of the decoder: ``stylegan2`` (the paper) or ``mobile`` (MobileStyleGAN)."""
    image_size: int = 512
    """Side of the input and output image in pixels, a power of two from 8 to 1024."""
    channel_base: int = 32768
    """Decoder width at scale r is ``min(channel_max, channel_base // r)``; 32768 is StyleGAN2's multiplier 2."""
    channel_max: int = 512
    """Upper limit of the decoder's width."""
    style_dim: int = 512
    """Width of the latent code w."""
    latent_layers: int = 8
    """Fully connected layers between the encoder's 4 px features and w."""
    encoder_channels: tuple[int, ...] | None = None
    """Encoder widths for scales 4, 8, ..., ``image_size``; ``None``: the decoder's widths (the paper)."""
    encoder_blocks: tuple[int, ...] | None = None
    """Residual blocks at scales 4, 8, ..., ``image_size``; ``None``: one everywhere."""
    fusion_scales: tuple[int, ...] | None = None
    """Scales with memory and fusion, ascending; ``None``: 8 to ``image_size``."""
    fusion_conv: FusionConv = "dense"
    """Convolution of Eq. 8: ``dense`` 3x3 (the paper) or ``separable`` (depthwise 3x3, then 1x1)."""
    use_memory: bool = True
    """Memory banks between encoder and fusion (off: Case 2 of Table 2)."""
    use_affine: bool = True
    """Affine fusion, Eq. 6-7 (off: Case 3)."""
    use_blend: bool = True
    """Blend fusion, Eq. 8 (off: Case 4)."""
    memory_max_slots: int | None = None
    """Cap of the slots K per bank; ``None``: K = r (the paper)."""
    memory_temperature: float = 1.0
    """Temperature of the softmax of Eq. 2; the paper's is 1."""
    memory_residual: bool = False
    """Return ``F^M + F^E`` instead of ``F^M``."""
    memory_normalize: bool = True
    """Return the read centered and rescaled per channel; ``False``: the literal Eq. 3."""
    memory_decay: float = 0.999
    """Decay of the moving average of Eq. 5."""
    degradation_conditioning: bool = False
    """Scale and shift ``F^M`` by how degraded the image is (not in the paper)."""

    def __post_init__(self) -> None:
        for field in ("encoder_channels", "encoder_blocks", "fusion_scales"):
            value = getattr(self, field)
            if isinstance(value, list):  # JSON has no tuples
                object.__setattr__(self, field, tuple(value))
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            numbers = value if isinstance(value, tuple) else ()
            if type(value) not in _TYPES[spec.type] or any(type(number) is not int for number in numbers):
                raise ConfigError(f"{spec.name} is {shown(value)}; its type must be {spec.type}.")
        choices = {"family": FAMILIES, "fusion_conv": get_args(FusionConv), "image_size": [2**i for i in range(3, 11)]}
        for field, allowed in choices.items():
            value = getattr(self, field)
            if value not in allowed:
                raise ConfigError(f"{field} is {shown(value)}; allowed: {', '.join(map(str, allowed))}.")
        if not (0 < len(self.name) <= _MAX_NAME and self.name.isprintable()):
            raise ConfigError(f"name is {shown(self.name)}; allowed: 1 to {_MAX_NAME} printable characters.")
        for field, (low, high) in _RANGES.items():
            value = getattr(self, field)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{field} is {shown(value)}; allowed: from {low:g} to {high:g}.")
        if self.channel_base < self.image_size:
            raise ConfigError(
                f"channel_base is {self.channel_base}; it must be at least image_size, {self.image_size}."
            )
        widths = [min(_MAX_WIDTH, _MAX_MAP_WIDTH // scale) for scale in self.scales]
        limits = {"encoder_channels": (1, widths), "encoder_blocks": (0, [_MAX_BLOCKS] * len(widths))}
        for field, (least, most) in limits.items():
            value = getattr(self, field)
            if value is not None and (
                len(value) != len(most) or not all(least <= number <= top for number, top in zip(value, most))
            ):
                raise ConfigError(
                    f"{field} is {shown(value)}; it needs {len(most)} numbers of at least {least}, one for each of "
                    f"the scales {self.scales}, and at most {most}."
                )
        scales = self.fused_scales
        if list(scales) != sorted(set(scales) & set(self.scales[1:])):
            raise ConfigError(f"fusion_scales is {shown(scales)}; allowed: ascending, out of {self.scales[1:]}.")
        if self.least_numbers > _MAX_NUMBERS:
            raise ConfigError(
                f"This configuration has at least {self.least_numbers:,} numbers; allowed are {_MAX_NUMBERS:,}: choose "
                "smaller channels, encoder_channels or encoder_blocks."
            )

    @property
    def scales(self) -> tuple[int, ...]:
        """All feature sides in pixels, ascending: 4, 8, ..., ``image_size``."""
        return tuple(2**i for i in range(2, self.image_size.bit_length()))

    @property
    def fused_scales(self) -> tuple[int, ...]:
        """Scales that carry memory and fusion, ascending."""
        return self.scales[1:] if self.fusion_scales is None else self.fusion_scales

    def channels(self, scale: int) -> int:
        """Decoder width at ``scale``."""
        return min(self.channel_max, self.channel_base // scale)

    def encoder_width(self, scale: int) -> int:
        """Encoder width at ``scale``."""
        if self.encoder_channels is None:
            return self.channels(scale)
        return self.encoder_channels[self.scales.index(scale)]

    def encoder_depth(self, scale: int) -> int:
        """Number of residual blocks of the encoder at ``scale``."""
        return 1 if self.encoder_blocks is None else self.encoder_blocks[self.scales.index(scale)]

    def slots(self, scale: int) -> int:
        """Memory slots K at ``scale`` (the paper: K equal to the scale)."""
        return scale if self.memory_max_slots is None else min(scale, self.memory_max_slots)

    @property
    def least_numbers(self) -> int:
        """A lower bound, at most a few times too low, of how many numbers the network has."""
        widths = [self.encoder_width(scale) for scale in self.scales]
        encoder = 9 * sum(
            width * (above + 2 * width * self.encoder_depth(scale))
            for scale, width, above in zip(self.scales, widths, [*widths[1:], 3], strict=True)
        )
        latent = self.style_dim * (16 * widths[0] + self.style_dim * self.latent_layers)
        kernel, decoder, fusion = _KERNEL_AREAS.get(self.family, 1), 0, 0
        for scale in self.scales[1:]:
            width, before = self.channels(scale), self.channels(scale // 2)
            decoder += kernel * width * (width + before // 4)
            if scale in self.fused_scales:
                memory, area = self.encoder_width(scale), 9 if self.fusion_conv == "dense" else 1
                fusion += area * width * (2 * memory * self.use_affine + (memory + width) * self.use_blend)
        return encoder + latent + decoder + fusion

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "MemGANConfig":
        """Inverse of :meth:`to_json`; ConfigError if ``text`` is no JSON object or has unknown fields or values."""
        return cls(**read_fields(cls, text, _FORMER_NAMES))


def read_fields(cls: type[Any], text: str, former: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The fields of a configuration of type ``cls`` that a JSON object has; ``former``: new names by old ones.

    Raises:
        ConfigError: if ``text`` is no JSON object, or has unknown fields.
    """
    try:
        values: Any = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        depth = "it is nested too deeply, or has a number of thousands of digits"
        reason = error if isinstance(error, json.JSONDecodeError) else depth
        raise ConfigError(f"The configuration is no valid JSON: {reason}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"The configuration is a JSON {type(values).__name__}; an object is needed.")
    named: dict[str, Any] = {(former or {}).get(name, name): value for name, value in values.items()}
    known = sorted(field.name for field in dataclasses.fields(cls))
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise ConfigError(
            f"Unknown configuration fields {shown(unknown)}; known: {known}. "
            "The file may have been made by a newer memgan: upgrade it."
        )
    return named


PRESETS: dict[str, MemGANConfig] = {
    "memgan-512": MemGANConfig(),
    "memgan-mobile-512": MemGANConfig(
        name="memgan-mobile-512",
        family="mobile",
        encoder_channels=(256, 256, 256, 192, 128, 64, 32, 16),
        encoder_blocks=(0, 1, 1, 2, 2, 1, 0, 0),
        fusion_conv="separable",
        memory_max_slots=64,
        memory_residual=True,
        degradation_conditioning=True,
    ),
}
"""The published configurations by name."""


def preset(name: str) -> MemGANConfig:
    """The configuration registered as ``name``.

    Raises:
        ConfigError: if there is none; the message lists the names.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(f"No preset is called {name!r}; there are: {', '.join(sorted(PRESETS))}.") from None
