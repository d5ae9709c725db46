"""Resolves the generator that a run trains: the preset with the changes of the settings."""

import json

from memgan.network.config import MemGANConfig, preset
from memgan.training.config import TrainConfig


def architecture(config: TrainConfig) -> MemGANConfig:
    """The generator's configuration: ``config.preset`` with the changes of ``config.architecture``.

    With another ``image_size`` the encoder keeps the widths and depths that the preset has at the smaller scales.

    Raises:
        ConfigError: if a change names an unknown field or value.
    """
    base, changes = preset(config.preset), config.architecture
    if not changes:
        return base
    values = json.loads(base.to_json()) | {"name": f"{base.name}-changed"} | changes
    count = int(values["image_size"]).bit_length() - 2 if isinstance(values["image_size"], int) else 0
    for field in ("encoder_channels", "encoder_blocks"):
        kept = values[field]
        if field not in changes and kept is not None and 0 < count < len(kept):
            values[field] = kept[:count]
    return MemGANConfig.from_json(json.dumps(values))
