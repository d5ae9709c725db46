"""Runs and converts facexlib's networks: layers and weights only, never its downloads and stateful detection code.

:func:`convert` also takes weights of memgan that another program has pickled.
"""

import argparse
import os
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memgan import hub
from memgan.errors import (
    ConfigError,
    MissingDependencyError,
    StateMismatchError,
    WeightsError,
    WeightsNotFoundError,
    brief,
)
from memgan.faces.retinaface import MEAN_BGR
from memgan.hub.cache import cache_folder
from memgan.hub.pretrained import build_memgan
from memgan.hub.resolver import SOURCE_KEY
from memgan.hub.tensor_file import read_state, write_tensors
from memgan.hub.weight_file import HEADER_TENSOR, checkpoint_of
from memgan.runtime.checks import check_choice
from memgan.runtime.isolation import unfilled
from memgan.runtime.path_rules import expand_home

FACEXLIB_WEIGHTS = tuple(name for name, spec in hub.REGISTRY.items() if spec.kind in ("detector", "parser"))
"""Names of facexlib's weight files in :data:`memgan.hub.registry.REGISTRY`: two face detectors and two face parsers."""
DETECTORS = tuple(name for name in FACEXLIB_WEIGHTS if hub.REGISTRY[name].kind == "detector")
_REMEDY = "Use facexlib's own file, as `memgan download` fetches it; delete this one if it is damaged."
_OTHER_REMEDY = "StyleGAN2 checkpoints are read by `memgan prior import stylegan2`."
_SUFFIX = ".safetensors"


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
        """Build the network and load its weights; arguments and errors are those of :func:`load_network`."""
        self._device = torch.device(device)
        check_choice("facexlib detector", name, DETECTORS)
        self._network = load_network(name, weights_dir=weights_dir, offline=offline).to(self._device)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw outputs for one picture (H, W, 3) uint8 RGB: locations (N, 4), scores (N,), landmark offsets (N, 10)."""
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
    check_choice("network of facexlib", name, FACEXLIB_WEIGHTS)
    network: torch.nn.Module
    try:
        with warnings.catch_warnings():
            # torchvision warns of the deprecated arguments that facexlib builds its backbone with.
            warnings.simplefilter("ignore")
            if name in DETECTORS:
                from facexlib.detection.retinaface import RetinaFace

                network = RetinaFace(network_name=name.removeprefix("retinaface_"), device=torch.device("cpu"))
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
    with unfilled():
        network = build_network(name)
    path = find_weights(name, weights_dir=weights_dir, offline=offline)
    try:
        network.load_state_dict(read_state(path, remedy=_REMEDY))
    except RuntimeError as error:
        raise StateMismatchError(f"{path} does not fit the network ({brief(error)}). {_REMEDY}") from error
    return network


def find_weights(name: str, *, weights_dir: str | os.PathLike[str] | None = None, offline: bool | None = None) -> Path:
    """Find one of facexlib's weight files, ``.safetensors`` or ``.pth``; its SHA-256 is checked.

    Looked for in ``weights_dir`` if it is given, else in memgan's cache and where facexlib itself puts its downloads;
    then it is downloaded, see :func:`memgan.hub.resolve`. A file that :func:`convert` has made of it wins wherever it
    lies.

    Args:
        name: one of :data:`FACEXLIB_WEIGHTS`.
        weights_dir: folder that holds the file under its published name, or is to receive the download. Files that are
            there are never changed.
        offline: never download; ``None``: as the environment variable ``HF_HUB_OFFLINE`` says.

    Raises:
        ConfigError: if the name is unknown.
        WeightsNotFoundError: if the file is nowhere and cannot be downloaded.
        ChecksumError: if a file is there but is not the published one.
        OutputError: if the download cannot be written.
    """
    check_choice("network of facexlib", name, FACEXLIB_WEIGHTS)
    if weights_dir is None:
        return hub.resolve(name, offline=offline, also_in=_facexlib_folders(), may_be_converted=True)
    is_there = (expand_home(weights_dir) / hub.REGISTRY[name].filename).is_file()
    # Files of the caller's folder are never changed: a damaged one is reported, not fetched again.
    return hub.resolve(name, cache_dir=weights_dir, offline=True if is_there else offline, may_be_converted=True)


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    offline: bool | None = None,
) -> Path:
    """Convert a pickled file to safetensors; torch's restricted unpickler refuses code in it and runs none.

    Args:
        source: one of :data:`FACEXLIB_WEIGHTS` (found or downloaded, and checked), or a file that holds one of
            facexlib's networks, or all tensors of a weight file of memgan.
        out: ``.safetensors`` file to write; ``None``, for a name only: memgan's cache, where it is found from then on.
        kind: which of the networks; ``None``: found out from the names and shapes of the tensors.
        offline: never download; ``None``: what ``HF_HUB_OFFLINE`` says.

    Returns:
        The file written. Its metadata name ``kind``, ``source``, ``source_sha256`` and ``license``; those of memgan's
        weights are what they were.

    Raises:
        ConfigError: if an option is not allowed.
        WeightsNotFoundError: if there is no such file.
        WeightsError: if it cannot be read, or holds something else.
        StateMismatchError: if it is not of ``kind``, or memgan's weights do not fit their own configuration.
        OutputError: if ``out`` cannot be written.
    """
    allowed = ", ".join(FACEXLIB_WEIGHTS)
    if kind is not None:
        check_choice("kind", kind, FACEXLIB_WEIGHTS, ", or None")
    if out is not None and Path(out).suffix != _SUFFIX:
        raise ConfigError(f"The output is {os.fspath(out)!r}; its name must end in {_SUFFIX}.")
    if isinstance(source, str) and source in FACEXLIB_WEIGHTS:
        if kind not in (None, source):
            raise ConfigError(f"{source!r} is given as a source and {kind!r} as its kind; leave out the kind.")
        kind = source
        path = hub.resolve(source, offline=offline)
        out = (cache_folder() / path.name).with_suffix(_SUFFIX) if out is None else out
    else:
        path = expand_home(source)
        if source in hub.REGISTRY:
            raise ConfigError(f"{source!r} is published as a safetensors file; names that can be converted: {allowed}.")
        if not path.is_file():
            raise WeightsNotFoundError(f"There is no file {path}; give a file, or one of the names: {allowed}.")
    if out is None:
        raise ConfigError(f"Where to write is not given: name a {_SUFFIX} file.")
    if path.suffix == _SUFFIX:
        raise ConfigError(f"{path} is a {_SUFFIX} file already; only pickled files need to be converted.")
    # Training checkpoints of other projects carry their command line: a plain container of values.
    state = read_state(path, also_allowed=[argparse.Namespace], remedy=_OTHER_REMEDY)
    if HEADER_TENSOR in state and kind is None:
        return _convert_own(path, state, Path(out))
    kind = kind or next((name for name in FACEXLIB_WEIGHTS if not _difference(state, name)), None)
    if kind is None:
        raise WeightsError(
            f"{path} holds tensors such as {sorted(state)[:4]}; what can be converted is: {allowed}, and weights of "
            f"memgan with their tensor {HEADER_TENSOR!r}. {_OTHER_REMEDY}"
        )
    if problem := _difference(state, kind):
        raise StateMismatchError(f"{path} is no {kind}: {problem}. Give the right kind, or leave it out.")
    about = {"format": "pt", "kind": kind, "source": path.name, SOURCE_KEY: hub.sha256_of(path)}
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
    write_tensors(Path(out), tensors, about | {"license": hub.REGISTRY[kind].license})
    return Path(out)


def _convert_own(path: Path, state: dict[str, Tensor], out: Path) -> Path:
    """Write memgan's weights with header again: in half precision if no number is lost by it."""
    checkpoint = checkpoint_of(path, {}, state)
    with unfilled():
        build_memgan(checkpoint.config, checkpoint.state)
    matrices = [tensor for tensor in state.values() if tensor.is_floating_point() and tensor.ndim >= 2]
    half = all(tensor.dtype == torch.half for tensor in matrices)
    return hub.save(out, checkpoint.config, checkpoint.state, checkpoint.metadata, half=half)


def _difference(state: dict[str, Tensor], name: str) -> str:
    """Why the tensors are not those of facexlib's network; empty if they are."""
    wanted = build_network(name).state_dict()
    if set(wanted) != set(state):
        return f"missing {sorted(set(wanted) - set(state))[:3]}, unexpected {sorted(set(state) - set(wanted))[:3]}"
    wrong = [key for key, value in wanted.items() if value.shape != state[key].shape]
    return f"other shapes of {wrong[:3]}" if wrong else ""


def _facexlib_folders() -> list[Path]:
    """Where facexlib itself puts its downloads; empty if it is not installed."""
    try:
        return [Path(str(metadata.distribution("facexlib").locate_file("facexlib/weights")))]
    except metadata.PackageNotFoundError:
        return []
