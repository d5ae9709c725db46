"""Adds options for other ranges of Eq. 14 than the paper's."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memgan.degradation import Degradation

_RANGES = {
    "blur_sigma": "standard deviation of the blur, in pixels of 512",
    "downscale": "how many times smaller than 512 px",
    "noise_sigma": "standard deviation of the noise, in 8-bit levels",
    "jpeg_quality": "JPEG quality",
}


def add_range_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each range."""
    for name, meaning in _RANGES.items():
        parser.add_argument(_option(name), metavar="LOW,HIGH", help=f"{meaning} (default: the paper's range)")


def degradation_of(args: argparse.Namespace) -> "Degradation | None":
    """The ranges asked for; ``None``: none was, so the paper's. A ConfigError for one that is no range."""
    from memgan.degradation import Degradation
    from memgan.errors import ConfigError

    ranges: dict[str, Any] = {}
    for name in _RANGES:
        text = getattr(args, name)
        if text is None:
            continue
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError as error:
            raise ConfigError(f"{_option(name)} is {text!r}; give two numbers such as 20,40.") from error
        ranges[name] = (low, high)
    return Degradation(**ranges) if ranges else None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
