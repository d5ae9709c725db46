"""Keeps the packages that memgan starts from sending reports of use, and from writing into the user's own folders."""

import os
import sys
from pathlib import Path

_HUB = {"HF_HUB_DISABLE_TELEMETRY": "1"}
_SETTINGS = {
    "accelerate": _HUB,  # it imports the hub's client
    "gradio": {"GRADIO_ANALYTICS_ENABLED": "False", **_HUB},
    "huggingface_hub": _HUB,
    "matplotlib": {},
    # From 1.32 on it writes an identifier of the device at its import, and half a minute later looks up a host.
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "openvino": {},
    "ray": {"RAY_USAGE_STATS_ENABLED": "0"},
}
REPORTING = frozenset(_SETTINGS)
"""Packages that need :func:`keep_private` before their import."""
_HELD_BACK = {"openvino": "openvino_telemetry"}
"""Packages that another one comes with and does without, and that would report its import to a host."""
_FOLDERS = {"matplotlib": "MPLCONFIGDIR"}  # its list of fonts, which takes seconds to make, is kept there


def keep_private(package: str, *, folder: str | os.PathLike[str] | None = None) -> None:
    """Keep a package from reporting and from writing; call it before its import.

    Most read environment variables when they are imported: what the user has set, either way, stays. One that knows no
    such variable is kept from importing its reporter, in this process and unless the program has imported that.

    Args:
        package: one of :data:`REPORTING`.
        folder: of memgan's cache, for those that keep files; ``None``: they choose their own.
    """
    settings = dict(_SETTINGS[package])
    if folder is not None and package in _FOLDERS:
        settings[_FOLDERS[package]] = str(Path(folder, package))
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if package in _HELD_BACK:
        sys.modules.setdefault(_HELD_BACK[package], None)  # type: ignore[arg-type]  # its import raises ImportError
