"""Which generator a run trains: the preset, with what the settings change of it."""

import json

from memgan.errors import ConfigError
from memgan.network.config import MemGANConfig, preset
from memgan.training.config import TrainConfig


def architecture(config: TrainConfig) -> MemGANConfig:
    """The generator's configuration: ``config.preset`` with the changes of ``config.architecture``.

    With another ``image_size`` the encoder keeps the widths and depths that the preset has at the smaller scales.

    Raises:
        ConfigError: if a change is not of the form name=value, or names an unknown field or value.
    """
    base = preset(config.preset)
    changes: dict[str, object] = {}
    for text in config.architecture:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"The change of architecture {text!r} has no '='; give name=value, as use_memory=false.")
        try:
            changes[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            changes[name.strip()] = value.strip()
    if not changes:
        return base
    values = json.loads(base.to_json()) | {"name": f"{base.name}-changed"} | changes
    count = int(values["image_size"]).bit_length() - 2 if isinstance(values["image_size"], int) else 0
    for field in ("encoder_channels", "encoder_blocks"):
        kept = values[field]
        if field not in changes and kept is not None and 0 < count < len(kept):
            values[field] = kept[:count]
    return MemGANConfig.from_json(json.dumps(values))
