"""The frozen configuration: JSON round trip and what it refuses."""

import dataclasses
import json

import pytest

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
    ],
)
def test_values_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        MemGANConfig(**{field: value})


def test_mobile_needs_equal_widths_at_the_start() -> None:
    config = MemGANConfig(family="mobile", channel_base=64, channel_max=512, image_size=32)
    with pytest.raises(ConfigError, match="4 and 8"):
        build_memgan(config)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"color": 1}', '{"image_size": 7}'])
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
