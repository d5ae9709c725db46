"""What computes the faces of a restorer: torch, or onnxruntime from an exported graph.

torch is the default: the fast form of the embedded weights (:mod:`memgan.network.fast`) is about as fast on a CPU as
onnxruntime is with their graph, and needs neither an export nor a second copy of the weights. ``auto`` finds out which
is faster on this machine, once.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, OutputError, WeightsError
from memgan.hub.cache import cache_folder
from memgan.network.config import MemGANConfig
from memgan.network.memory import MemoryBank
from memgan.network.model import MemGAN
from memgan.restoration.onnx_export import INPUT, onnx_bytes
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.onnx_session import open_session

BACKENDS = ("torch", "onnx", "auto")
_PACKAGES = ("onnx", "onnxruntime")
_MARGIN = 0.95
"""Share of torch's time that onnxruntime must stay below to be chosen: less is noise."""


class OnnxNetwork(nn.Module):
    """A network whose pictures onnxruntime makes; all else about it (configuration, memory) is the network's own.

    Args:
        network: on any device; where its input is not on the CPU, it makes the picture itself.
        session: runs its exported graph; safe to share between threads.
    """

    def __init__(self, network: MemGAN, session: Any) -> None:
        super().__init__()
        self.trained = network
        self._session = session

    @property
    def config(self) -> MemGANConfig:
        """The network's."""
        return self.trained.config

    @property
    def encoder(self) -> nn.Module:
        """The network's."""
        return self.trained.encoder

    @property
    def memory(self) -> Mapping[str, MemoryBank]:
        """The network's."""
        return self.trained.memory

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """(B, 3, S, S) RGB in [-1, 1] to the restored faces alone, of the same shape."""
        if image.device.type != "cpu":
            return (self.trained(image).image,)
        self.trained.check_image(image)
        # One by one: a batch is no faster on a CPU, and takes as many times the memory.
        faces = [self._session.run(None, {INPUT: face.numpy()})[0] for face in image.detach().float().split(1)]
        return (torch.from_numpy(np.concatenate(faces)),)


def with_backend(network: nn.Module, backend: str, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The network in the form in which ``backend`` runs it.

    Args:
        network: as a restorer takes it.
        backend: ``torch``: as it is; ``onnx``: by onnxruntime, whose graph is exported at the first time (seconds) and
            kept in memgan's cache; ``auto``: whichever is faster here, torch where there is no choice. What ``auto``
            measures the first time (tens of seconds) is kept beside the graph.
        device: what the restorer runs on.
        dtype: what it runs in.

    Raises:
        ConfigError: if ``backend`` is none of them, or ``onnx`` with anything but a MemGAN in float32 on the CPU.
        MissingDependencyError: if ``onnx`` is wanted and its packages are not installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend is {backend!r}; allowed are {', '.join(BACKENDS)}.")
    possible = isinstance(network, MemGAN) and device.type == "cpu" and dtype == torch.float32
    if backend == "onnx" and not possible:
        given = f"{type(network).__name__} in {str(dtype).removeprefix('torch.')} on {str(device)!r}"
        raise ConfigError(
            f"backend='onnx' is for a MemGAN in float32 on the CPU, not for {given}; use backend='torch', or "
            "device='cpu' and no dtype."
        )
    if backend == "torch" or not possible:
        return network
    if backend == "auto" and not all(map(importlib.util.find_spec, _PACKAGES)):
        return network
    return _onnx_network(network) if backend == "onnx" else _faster(network)


def _onnx_network(network: MemGAN) -> OnnxNetwork:
    path = _graph_path(network)
    if path.is_file():
        try:
            return OnnxNetwork(network, open_session(path, "backend='onnx'"))
        except WeightsError:  # damaged, and easily made anew
            path.unlink(missing_ok=True)
    graph = onnx_bytes(network)
    _keep(path, graph)
    return OnnxNetwork(network, open_session(graph, "backend='onnx'"))


def _graph_path(network: MemGAN) -> Path:
    """Where the graph of these weights, as this version of memgan and torch exports it, is kept."""
    digest = hashlib.sha256(torch.__version__.encode())
    package = Path(__file__).resolve().parents[1]
    for source in (package / "restoration" / "onnx_export.py", *sorted((package / "network").glob("*.py"))):
        digest.update(source.read_bytes())
    digest.update(network.config.to_json().encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return cache_folder() / "onnx" / f"{digest.hexdigest()[:32]}.onnx"


def _keep(path: Path, data: bytes) -> None:
    """Into the cache; whoever has none does without."""
    try:
        with atomic_write(path, make_folders=True) as temporary:
            temporary.write_bytes(data)
    except OutputError as error:
        warnings.warn(f"what backend='onnx' or 'auto' found is not kept: {error}", stacklevel=3)


def _faster(network: MemGAN) -> nn.Module:
    """The form that is faster on this machine, as measured now or before."""
    path = _graph_path(network).with_suffix(".json")
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "onnxruntime")]
    machine = ", ".join([platform.processor() or platform.machine(), f"{torch.get_num_threads()} threads", *packages])
    try:
        known = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    if machine not in known:
        size = network.config.image_size
        image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
        times = _median_seconds({"torch": network, "onnx": _onnx_network(network)}, image)
        known[machine] = "onnx" if times["onnx"] < _MARGIN * times["torch"] else "torch"
        _keep(path, json.dumps(known, indent=2).encode())
    return _onnx_network(network) if known[machine] == "onnx" else network


@torch.inference_mode()
def _median_seconds(forms: dict[str, Callable[[Tensor], Any]], image: Tensor, repeats: int = 3) -> dict[str, float]:
    """Seconds per call of each form, taken in turns after a first call that warms it up."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(repeats + 1):
        for name, form in forms.items():
            start = time.perf_counter()
            form(image)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}
