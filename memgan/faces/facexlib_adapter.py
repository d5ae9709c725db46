"""facexlib's RetinaFace networks: only their layers and weights are used, never their stateful detection code."""

import dataclasses
import hashlib
import http.client
import os
import pickle
import urllib.request
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memgan.errors import (
    ChecksumError,
    ConfigError,
    MissingDependencyError,
    StateMismatchError,
    WeightsError,
    WeightsNotFoundError,
)
from memgan.faces.retinaface import network_input

_RELEASE = "https://github.com/xinntao/facexlib/releases/download/v0.1.0"
_DOWNLOAD_TIMEOUT_S = 60
_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class FacexlibWeights:
    """One weight file of facexlib."""

    network: str
    """Name of the network inside facexlib."""
    filename: str
    sha256: str

    @property
    def url(self) -> str:
        """Where facexlib publishes the file."""
        return f"{_RELEASE}/{self.filename}"


FACEXLIB_WEIGHTS = {
    "retinaface_mobile0.25": FacexlibWeights(
        "mobile0.25",
        "detection_mobilenet0.25_Final.pth",
        "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    ),
    "retinaface_resnet50": FacexlibWeights(
        "resnet50",
        "detection_Resnet50_Final.pth",
        "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
}
"""Detector name to weight file."""


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
        network = _build(_weights_named(name).network)
        path = find_weights(name, weights_dir=weights_dir, offline=offline)
        _load(network, path)
        self._network = network.to(self._device)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw outputs for one picture (H, W, 3) uint8 RGB: locations (N, 4), scores (N,), landmark offsets (N, 10)."""
        with torch.inference_mode():
            batch = torch.from_numpy(network_input(image)).to(self._device)
            locations, confidences, points = self._network(batch)
            return locations[0].cpu().numpy(), confidences[0, :, 1].cpu().numpy(), points[0].cpu().numpy()


def _weights_named(name: str) -> FacexlibWeights:
    if name not in FACEXLIB_WEIGHTS:
        raise ConfigError(f"facexlib detector is {name!r}; allowed are {', '.join(FACEXLIB_WEIGHTS)}")
    return FACEXLIB_WEIGHTS[name]


def _build(network: str) -> torch.nn.Module:
    try:
        with warnings.catch_warnings():
            # torchvision warns of the deprecated arguments that facexlib builds its backbone with.
            warnings.simplefilter("ignore")
            from facexlib.detection.retinaface import RetinaFace

            return RetinaFace(network_name=network, device=torch.device("cpu")).eval()
    except ImportError as error:
        raise MissingDependencyError(
            f"this detector needs facexlib ({error}); install it with: pip install facexlib, "
            "or use the detector 'embedded'"
        ) from error


def find_weights(name: str, *, weights_dir: str | os.PathLike[str] | None = None, offline: bool | None = None) -> Path:
    """Find a weight file: in ``weights_dir``, else in facexlib's own folder, else by download; its SHA-256 is checked.

    Args:
        name: key of :data:`FACEXLIB_WEIGHTS`.
        weights_dir: folder that holds the file under its published name, or is to receive the download; ``None``:
            ``facexlib/weights`` in the installed package if the file is there, else ``facexlib`` in torch's hub cache.
        offline: never download; ``None``: as the environment variable ``HF_HUB_OFFLINE`` says.

    Raises:
        ConfigError: if the name is unknown.
        WeightsNotFoundError: if the file is nowhere and cannot be downloaded.
        ChecksumError: if a file is there but is not the published one.
    """
    weights = _weights_named(name)
    folders = [Path(weights_dir)] if weights_dir is not None else [*_facexlib_folders(), _cache_folder()]
    for folder in folders:
        path = folder / weights.filename
        if path.is_file():
            _check_sha256(path, weights.sha256)
            return path
    path = folders[-1] / weights.filename
    if offline is None:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if offline:
        raise WeightsNotFoundError(
            f"{weights.filename} is not in {', '.join(map(str, folders))}, and offline mode forbids downloading it; "
            f"{_manual_remedy(weights)}"
        )
    _download(weights, path)
    return path


def _facexlib_folders() -> list[Path]:
    """Where facexlib itself puts its downloads; empty if it is not installed."""
    try:
        return [Path(str(metadata.distribution("facexlib").locate_file("facexlib/weights")))]
    except metadata.PackageNotFoundError:
        return []


def _cache_folder() -> Path:
    return Path(torch.hub.get_dir()) / "facexlib"


def _manual_remedy(weights: FacexlibWeights) -> str:
    return f"put the file from {weights.url} into a folder, name it as weights_dir, or use the detector 'embedded'"


def _check_sha256(path: Path, expected: str) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if digest.hexdigest() != expected:
        raise ChecksumError(f"{path} has SHA-256 {digest.hexdigest()}, expected {expected}; delete it and try again")


def _download(weights: FacexlibWeights, path: Path) -> None:
    """Fetch a file beside its final place, check it, then move it: nobody ever sees a partial or wrong file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            request = urllib.request.urlopen(weights.url, timeout=_DOWNLOAD_TIMEOUT_S)
            with request as response, partial.open("xb") as file:
                while chunk := response.read(_CHUNK_BYTES):
                    file.write(chunk)
            _check_sha256(partial, weights.sha256)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsNotFoundError(
            f"cannot download {weights.filename} to {path.parent} ({error}); {_manual_remedy(weights)}"
        ) from error


def _load(network: torch.nn.Module, path: Path) -> None:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is no file of plain tensors; delete it and try again") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise StateMismatchError(f"{path} holds no tensors by name; use facexlib's own file")
    try:
        # Trained with DataParallel: some files name every tensor "module...".
        network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except RuntimeError as error:
        raise StateMismatchError(f"{path} does not fit the network; use facexlib's own file ({error})") from error
