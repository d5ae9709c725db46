"""Describes a MemGAN generator in one frozen dataclass that travels inside the weight file."""

import dataclasses
import json
from typing import Any, Literal, get_args

from memgan.errors import ConfigError

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


@dataclasses.dataclass(frozen=True)
class MemGANConfig:
    """Everything needed to build a generator (Sec. 3 of the paper).

    A *scale* is the side of a square feature map in pixels; scales are powers of two from 4 to ``image_size``.

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
                raise ConfigError(f"{spec.name} is {value!r}; its type must be {spec.type}.")
        choices = {"family": FAMILIES, "fusion_conv": get_args(FusionConv), "image_size": [2**i for i in range(3, 11)]}
        for field, allowed in choices.items():
            value = getattr(self, field)
            if value not in allowed:
                raise ConfigError(f"{field} is {value!r}; allowed: {', '.join(map(str, allowed))}.")
        if self.channel_base < self.image_size:
            raise ConfigError(
                f"channel_base is {self.channel_base}; it must be at least image_size, {self.image_size}."
            )
        for field in ("channel_max", "style_dim", "latent_layers", "memory_max_slots"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ConfigError(f"{field} is {value}; it must be at least 1.")
        for field, minimum in (("encoder_channels", 1), ("encoder_blocks", 0)):
            value = getattr(self, field)
            if value is not None and (len(value) != len(self.scales) or min(value) < minimum):
                raise ConfigError(
                    f"{field} is {value}; it needs {len(self.scales)} numbers of at least {minimum}, "
                    f"one for each of the scales {self.scales}."
                )
        scales = self.fused_scales
        if list(scales) != sorted(set(scales) & set(self.scales[1:])):
            raise ConfigError(f"fusion_scales is {scales}; allowed: ascending, out of {self.scales[1:]}.")
        if not self.memory_temperature > 0:
            raise ConfigError(f"memory_temperature is {self.memory_temperature}; it must be above 0.")
        if not 0 <= self.memory_decay <= 1:
            raise ConfigError(f"memory_decay is {self.memory_decay}; it must be from 0 to 1.")

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

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "MemGANConfig":
        """Inverse of :meth:`to_json`; ConfigError if ``text`` is no JSON object or has unknown fields or values."""
        try:
            values: Any = json.loads(text)
        except (json.JSONDecodeError, TypeError) as error:
            raise ConfigError(f"The configuration is no valid JSON: {error}.") from error
        if not isinstance(values, dict):
            raise ConfigError(f"The configuration is a JSON {type(values).__name__}; an object is needed.")
        values = {_FORMER_NAMES.get(name, name): value for name, value in values.items()}
        known = sorted(field.name for field in dataclasses.fields(cls))
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(
                f"Unknown configuration fields {unknown}; known: {known}. "
                "The file may have been made by a newer memgan: upgrade it."
            )
        return cls(**values)


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
