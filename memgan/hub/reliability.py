"""Weight files of the networks that estimate how far restored faces are from the truth."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from memgan.errors import WeightsError
from memgan.hub.registry import REGISTRY, WeightSpec
from memgan.hub.resolver import resolve
from memgan.hub.weight_file import read_kind, write_kind
from memgan.runtime.checks import parse_json
from memgan.runtime.short_repr import short_repr

if TYPE_CHECKING:
    from torch import Tensor

    from memgan.network.reliability import ReliabilityConfig, ReliabilityNet

KIND = "reliability"
CALIBRATED_KEY = "calibrated_for"
"""Header entry: SHA-256 by name, as a JSON object, of the restorers' weights whose pictures it was calibrated on."""


@dataclasses.dataclass(frozen=True)
class ReliabilityCheckpoint:
    """An estimator of the errors of restored faces, as read from a weight file."""

    config: "ReliabilityConfig"
    state: "dict[str, Tensor]"
    """Tensors by name, on the CPU; floating ones are float32 whatever the file stores."""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    """Further header entries, such as license and training summary."""
    path: Path | None = None
    """The file or index that it was read from."""

    __repr__ = short_repr

    @property
    def calibrated_for(self) -> dict[str, str]:
        """SHA-256 by name of the weights whose pictures it was calibrated on, each end of the fidelity dial.

        Raises:
            WeightsError: if the file does not say.
        """
        try:
            digests = parse_json(self.metadata[CALIBRATED_KEY])
            if not isinstance(digests, dict) or not all(isinstance(text, str) for text in digests.values()):
                raise ValueError("it is no JSON object of texts")
            return digests
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{self.path or self.config.name} does not say for which weights it was calibrated ({error}); write it "
                "anew with memgan.hub.save_reliability."
            ) from error

    def build(self) -> "ReliabilityNet":
        """The network with these weights, in eval mode, on the CPU; its parameters want no gradients.

        Raises:
            StateMismatchError: naming missing, unexpected and misshapen tensors.
        """
        from memgan.network.reliability import build_reliability

        network = build_reliability(self.config, self.state)
        network.metadata = dict(self.metadata)
        return network.eval().requires_grad_(False)


def read_reliability(path: str | os.PathLike[str]) -> ReliabilityCheckpoint:
    """Read a weight file of an estimator.

    Raises:
        WeightsError: if the file is no safetensors file, is cut off, or does not describe an estimator.
    """
    from memgan.network.reliability import ReliabilityConfig

    return ReliabilityCheckpoint(*read_kind(Path(path), KIND, ReliabilityConfig.from_json))


def load_reliability(name_or_path: str | os.PathLike[str], *, offline: bool | None = None) -> ReliabilityCheckpoint:
    """Find (as :func:`memgan.hub.resolve` does) and read the weights of an estimator.

    Raises:
        WeightsError: if the file is damaged or of another kind; and all that :func:`memgan.hub.resolve` raises.
    """
    return read_reliability(resolve(name_or_path, offline=offline))


def load_reliability_of(spec: WeightSpec) -> ReliabilityCheckpoint:
    """The estimator that belongs to registered weights.

    Raises:
        WeightsError: if there is none; if it was calibrated for other weights than these and their faithful partner;
            and all that :func:`load_reliability` raises.
    """
    if spec.reliability is None:
        raise WeightsError(f"{spec.name} has no weights that estimate its errors.")
    found = load_reliability(spec.reliability)
    known = found.calibrated_for
    for one in filter(None, (spec, REGISTRY.get(spec.faithful or ""))):
        if one.sha256 not in known.values():  # names of files may change
            raise WeightsError(
                f"{spec.reliability} was not calibrated for the registered weights {one.name!r} (SHA-256 "
                f"{one.sha256}) but for {known}: its numbers would be wrong. Install one version of memgan with all of "
                "its weights."
            )
    return found


def save_reliability(
    path: str | os.PathLike[str],
    config: "ReliabilityConfig",
    state: "Mapping[str, Tensor]",
    calibrated_for: Mapping[str, str],
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
) -> Path:
    """Write a weight file of an estimator, as :func:`memgan.hub.save` writes those of restorers.

    Args:
        calibrated_for: SHA-256 by name of the weight files whose pictures it was calibrated on: that of the restorer,
            and of its faithful partner. It overrides an entry of ``metadata``.

    Raises:
        WeightsError, OutputError: as there.
    """
    entries = {**(metadata or {}), CALIBRATED_KEY: json.dumps(dict(calibrated_for), sort_keys=True)}
    return write_kind(Path(path), KIND, config.to_json(), state, entries, half)
