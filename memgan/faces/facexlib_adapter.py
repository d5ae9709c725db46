"""Runs facexlib's networks: their layers and weights only, never its downloads and stateful detection code."""

import os
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from memgan import hub
from memgan.errors import ConfigError, MissingDependencyError, StateMismatchError
from memgan.faces.retinaface import MEAN_BGR
from memgan.hub.tensor_file import read_state

FACEXLIB_WEIGHTS = tuple(name for name, spec in hub.REGISTRY.items() if spec.kind != "restorer")
"""Names of facexlib's weight files in :data:`memgan.hub.registry.REGISTRY`: two face detectors and two face parsers."""
DETECTORS = tuple(name for name in FACEXLIB_WEIGHTS if hub.REGISTRY[name].kind == "detector")
_REMEDY = "Use facexlib's own file, as `memgan download` fetches it; delete this one if it is damaged."


class FacexlibRetinaFace:
    """A RetinaFace network of facexlib on any torch device; keeps no state between calls, so threads may share it."""

    def __init__(
        self,
        name: str = "retinaface_resnet50",
        *,
        device: str | torch.device = "cpu",
        weights_dir: str | os.PathLike[str] | None = None,
        offline: bool | None = None,
    ) -> None:
        """Build the network and load its weights, see :func:`find_weights`.

        Raises:
            ConfigError: if the name is unknown.
            MissingDependencyError: if facexlib is not installed.
            WeightsError: if the weights are missing, damaged or of another network.
        """
        self._device = torch.device(device)
        if name not in DETECTORS:
            raise ConfigError(f"facexlib detector is {name!r}; allowed are {', '.join(DETECTORS)}")
        self._network = load_network(name, weights_dir=weights_dir, offline=offline).to(self._device)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw outputs for one picture (H, W, 3) uint8 RGB: locations (N, 4), scores (N,), landmark offsets (N, 10)."""
        with torch.inference_mode():
            # Bytes go to the device, a quarter of what it works with.
            pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
            batch = pixels.permute(2, 0, 1)[None].flip(1).float()
            batch -= torch.from_numpy(MEAN_BGR).to(self._device).view(1, 3, 1, 1)
            locations, confidences, points = self._network(batch)
            return locations[0].cpu().numpy(), confidences[0, :, 1].cpu().numpy(), points[0].cpu().numpy()


def build_network(name: str) -> torch.nn.Module:
    """One of facexlib's networks with random weights, on the CPU, in eval mode.

    Args:
        name: one of :data:`FACEXLIB_WEIGHTS`. Parsers take (B, 3, 512, 512) RGB, ``parsing_parsenet`` in [-1, 1],
            ``parsing_bisenet`` normalized as for ImageNet; the first item of what they return is (B, 19, 512, 512),
            scores of the classes of CelebAMask-HQ.

    Raises:
        ConfigError: if the name is unknown.
        MissingDependencyError: if facexlib is not installed.
    """
    spec = _spec(name)
    network: torch.nn.Module
    try:
        with warnings.catch_warnings():
            # torchvision warns of the deprecated arguments that facexlib builds its backbone with.
            warnings.simplefilter("ignore")
            if spec.kind == "detector":
                from facexlib.detection.retinaface import RetinaFace

                backbone = name.removeprefix("retinaface_")
                network = RetinaFace(network_name=backbone, device=torch.device("cpu"))
            elif name == "parsing_bisenet":
                from facexlib.parsing.bisenet import BiSeNet

                network = BiSeNet(num_class=19)
            else:
                from facexlib.parsing.parsenet import ParseNet

                network = ParseNet(in_size=512, out_size=512, parsing_ch=19)
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} needs facexlib ({error}); install it with: pip install facexlib, or use what is embedded"
        ) from error
    return network.eval()


def load_network(
    name: str, *, weights_dir: str | os.PathLike[str] | None = None, offline: bool | None = None
) -> torch.nn.Module:
    """One of facexlib's networks with its published weights, see :func:`build_network` and :func:`find_weights`.

    Raises:
        ConfigError: if the name is unknown.
        MissingDependencyError: if facexlib is not installed.
        WeightsError: if the weights are missing, damaged or of another network.
    """
    network = build_network(name)
    load_weights(network, find_weights(name, weights_dir=weights_dir, offline=offline))
    return network


def find_weights(name: str, *, weights_dir: str | os.PathLike[str] | None = None, offline: bool | None = None) -> Path:
    """Find one of facexlib's weight files; its SHA-256 is checked.

    Looked for in ``weights_dir`` if it is given, else in memgan's cache and where facexlib itself puts its downloads;
    then it is downloaded, see :func:`memgan.hub.resolve`. A ``.safetensors`` file that `memgan convert` has made
    of it wins wherever it lies.

    Args:
        name: one of :data:`FACEXLIB_WEIGHTS`.
        weights_dir: folder that holds the file under its published name, or is to receive the download. Files that are
            there are never changed.
        offline: never download; ``None``: as the environment variable ``HF_HUB_OFFLINE`` says.

    Returns:
        A file for :func:`load_weights`, ``.safetensors`` or ``.pth``.

    Raises:
        ConfigError: if the name is unknown.
        WeightsNotFoundError: if the file is nowhere and cannot be downloaded.
        ChecksumError: if a file is there but is not the published one.
        OutputError: if the download cannot be written.
    """
    spec = _spec(name)
    if weights_dir is None:
        return hub.resolve(name, offline=offline, also_in=_facexlib_folders(), may_be_converted=True)
    is_there = (Path(weights_dir).expanduser() / spec.filename).is_file()
    # Files of the caller's folder are never changed: a damaged one is reported, not fetched again.
    return hub.resolve(name, cache_dir=weights_dir, offline=True if is_there else offline, may_be_converted=True)


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load a file found by :func:`find_weights`, strictly; pickled ones with torch's restricted unpickler only.

    Raises:
        WeightsError: if the file is damaged.
        StateMismatchError: if it is of another network.
    """
    try:
        network.load_state_dict(read_state(path, remedy=_REMEDY))
    except RuntimeError as error:
        raise StateMismatchError(f"{path} does not fit the network ({error}). {_REMEDY}") from error


def _spec(name: str) -> hub.WeightSpec:
    if name not in FACEXLIB_WEIGHTS:
        raise ConfigError(f"facexlib's weights are asked for as {name!r}; allowed are {', '.join(FACEXLIB_WEIGHTS)}")
    return hub.REGISTRY[name]


def _facexlib_folders() -> list[Path]:
    """Where facexlib itself puts its downloads; empty if it is not installed."""
    try:
        return [Path(str(metadata.distribution("facexlib").locate_file("facexlib/weights")))]
    except metadata.PackageNotFoundError:
        return []
