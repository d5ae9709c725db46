"""memgan: blind face restoration in whole photographs.

Importing the package is cheap: what needs torch is loaded when it is first asked for.
"""

import importlib

from memgan import errors
from memgan.errors import (
    ChecksumError,
    ConfigError,
    DataError,
    DeviceError,
    FaceIndexError,
    FilmError,
    ImageError,
    MemGANError,
    MissingDependencyError,
    OutputError,
    ShapeError,
    StateMismatchError,
    WeightsError,
    WeightsNotFoundError,
)
from memgan.version import __version__

TYPE_CHECKING = False  # as typing's, whose import takes longer than all of this
if TYPE_CHECKING:
    from memgan.faces.align import Face
    from memgan.hub.pretrained import MemGAN, build_memgan
    from memgan.network.config import MemGANConfig, preset
    from memgan.restoration.heat_map import draw_heat_map
    from memgan.restoration.restorer import MemGANRestorer
    from memgan.restoration.result import Restoration

__all__ = [
    "ChecksumError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "Face",
    "FaceIndexError",
    "FilmError",
    "ImageError",
    "MemGAN",
    "MemGANConfig",
    "MemGANError",
    "MemGANRestorer",
    "MissingDependencyError",
    "OutputError",
    "Restoration",
    "ShapeError",
    "StateMismatchError",
    "WeightsError",
    "WeightsNotFoundError",
    "__version__",
    "build_memgan",
    "draw_heat_map",
    "errors",
    "preset",
]

_LAZY = {
    "Face": "memgan.faces.align",
    "MemGAN": "memgan.hub.pretrained",
    "MemGANConfig": "memgan.network.config",
    "MemGANRestorer": "memgan.restoration.restorer",
    "Restoration": "memgan.restoration.result",
    "build_memgan": "memgan.hub.pretrained",
    "draw_heat_map": "memgan.restoration.heat_map",
    "preset": "memgan.network.config",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value  # the next access finds it without this detour
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
