"""The frozen configuration: JSON round trip and what it refuses."""

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from tiny import FAST_CONFIG, TINY, TINY_MOBILE

from memgan.errors import ConfigError
from memgan.network.config import PRESETS, MemGANConfig, preset
from memgan.network.model import build_memgan


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_json_round_trip(name: str) -> None:
    config = preset(name)
    assert config.name == name
    assert MemGANConfig.from_json(config.to_json()) == config


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("memgan-512").image_size = 256


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("family", "stylegan3"),
        ("fusion_conv", "1x1"),
        ("image_size", 500),
        ("image_size", True),
        ("image_size", "512"),
        ("channel_base", 511),  # a layer without channels at 512 px
        ("latent_layers", 0),
        ("encoder_channels", (8, 8)),
        ("encoder_channels", (0,) * 8),
        ("encoder_blocks", (-1,) * 8),
        ("encoder_blocks", (1.5,) * 8),
        ("fusion_scales", (4, 8)),
        ("fusion_scales", (16, 8)),
        ("fusion_scales", (8, 1024)),
        ("memory_max_slots", 0),
        ("memory_temperature", 0.0),
        ("memory_decay", 1.1),
        ("use_memory", 1),
        ("name", 3),
        ("name", ""),
        ("name", "n" * 201),
        ("name", "two\nlines"),
        ("channel_base", 10**12),
        ("channel_base", 131073),
        ("channel_max", 4097),
        ("style_dim", 4097),
        ("latent_layers", 65),
        ("encoder_channels", (4097, *(8,) * 7)),
        ("encoder_channels", (*(8,) * 7, 257)),  # of 512 px: less than of the scales below
        ("encoder_blocks", (65, *(0,) * 7)),
        ("memory_max_slots", 10**4000),
        ("memory_temperature", 1e-5),
        ("memory_temperature", 10**400),
        ("memory_temperature", math.inf),
        ("memory_temperature", math.nan),
        ("memory_decay", -0.1),
        ("memory_decay", math.nan),
    ],
)
def test_values_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        MemGANConfig(**{field: value})


@pytest.mark.parametrize("changes", [{"encoder_blocks": (64,) * 8}, {"channel_base": 131072, "channel_max": 4096}])
def test_ranges_that_are_allowed_one_by_one_may_ask_for_too_much_together(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"has at least [\d,]+ numbers; allowed are 1,073,741,824"):
        MemGANConfig(encoder_channels=(512,) * 5 + (256,) * 3, **changes)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        TINY_MOBILE,
        FAST_CONFIG,
        dataclasses.replace(TINY, use_affine=False),
        dataclasses.replace(TINY, encoder_blocks=(3, 0, 2, 1), latent_layers=9),
        preset("memgan-mobile-512"),
        pytest.param(preset("memgan-512"), marks=pytest.mark.slow),
    ],
)
def test_the_least_count_is_a_lower_bound_and_near(config: MemGANConfig) -> None:
    true = sum(parameter.numel() for parameter in build_memgan(config).parameters())
    assert config.least_numbers <= true <= 4 * config.least_numbers


def test_a_number_that_cannot_be_printed() -> None:
    with pytest.raises(ConfigError, match="style_dim is <int>"):
        MemGANConfig(style_dim=10**5000)


def test_numbers_at_their_limits_are_allowed() -> None:
    config = MemGANConfig(
        image_size=8, channel_base=131072, channel_max=2048, style_dim=4096, latent_layers=20, memory_max_slots=4096
    )
    assert config.channels(8) == 2048 and config.slots(8) == 8


def test_mobile_needs_equal_widths_at_the_start() -> None:
    config = MemGANConfig(family="mobile", channel_base=64, channel_max=512, image_size=32)
    with pytest.raises(ConfigError, match="4 and 8"):
        build_memgan(config)


@pytest.mark.parametrize(("widest", "base"), [(18, 1024), (2, 1024), (8, 96)])
def test_mobile_needs_four_bands_of_every_width_that_it_doubles_in_size(widest: int, base: int) -> None:
    config = MemGANConfig(family="mobile", channel_base=base, channel_max=widest, image_size=32)
    with pytest.raises(ConfigError, match="multiples of 4"):
        build_memgan(config)


def test_mobile_may_have_any_width_at_the_last_scale() -> None:
    config = MemGANConfig(family="mobile", channel_base=127, channel_max=4, image_size=32, fusion_conv="separable")
    assert config.channels(32) == 3
    assert build_memgan(config)(torch.zeros(1, 3, 32, 32)).image.shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", "[" * 99999, '{"name": ' + "1" * 4999 + "}", '{"color": 1}', '{"image_size": 7}']
)
def test_bad_json_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        MemGANConfig.from_json(text)


def test_unknown_fields_say_what_is_known() -> None:
    with pytest.raises(ConfigError, match=r"(?s)color.*image_size.*upgrade"):
        MemGANConfig.from_json(json.dumps({"color": 1}))


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="memgan-mobile-512"):
        preset("memgan-256")


def test_the_spelling_of_the_first_weight_files_is_read() -> None:
    text = MemGANConfig(memory_normalize=False).to_json()
    former = text.replace("memory_normalize", "memory_normalise")
    assert former != text and MemGANConfig.from_json(former).memory_normalize is False
