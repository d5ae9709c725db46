"""Runs the network of a restorer by torch, or by onnxruntime from an exported graph.

torch is the default: the fast form of the embedded weights (:mod:`memgan.network.fast`) is about as fast on a CPU as
onnxruntime is with their graph, and needs neither an export nor a second copy of the weights.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, OutputError, WeightsError
from memgan.hub.cache import cache_folder
from memgan.network.config import MemGANConfig
from memgan.network.model import MemGAN
from memgan.restoration.onnx_export import INPUT, onnx_bytes
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.checks import check_choice
from memgan.runtime.choices import BACKENDS
from memgan.runtime.onnx_session import OnnxSession


class OnnxNetwork(nn.Module):
    """A network, ``trained``, whose pictures onnxruntime makes, by a session of its exported graph.

    Where the input is not on the CPU, the network makes the picture itself. Threads may share it.
    """

    def __init__(self, network: MemGAN, session: OnnxSession) -> None:
        super().__init__()
        self.trained = network
        self._session = session

    @property
    def config(self) -> MemGANConfig:
        """The network's."""
        return self.trained.config

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """(B, 3, S, S) RGB in [-1, 1] to the restored faces alone, of the same shape."""
        if image.device.type != "cpu":
            return (self.trained(image).image,)
        self.trained.check_image(image)
        # One by one: a batch is no faster on a CPU, and takes as many times the memory.
        faces = [self._session.run(None, {INPUT: face.numpy()})[0] for face in image.detach().float()[:, None]]
        return (torch.from_numpy(np.concatenate(faces)),)


def with_backend(network: nn.Module, backend: str, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A restorer's network in the form in which ``backend`` runs it.

    Args:
        backend: ``torch``: as it is; ``onnx``: by onnxruntime, whose graph is exported at the first time (seconds) and
            kept in memgan's cache.
        device, dtype: what the restorer runs on and in.

    Raises:
        ConfigError: if ``backend`` is none of them, or ``onnx`` with anything but a MemGAN in float32 on the CPU.
        MissingDependencyError: if ``onnx`` is wanted and its packages are not installed.
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "torch":
        return network
    if not isinstance(network, MemGAN) or device.type != "cpu" or dtype != torch.float32:
        given = f"{type(network).__name__} in {str(dtype).removeprefix('torch.')} on {str(device)!r}"
        raise ConfigError(
            f"backend='onnx' is for a MemGAN in float32 on the CPU, not for {given}; use backend='torch', or "
            "device='cpu' and no dtype."
        )
    return _onnx_network(network)


def _onnx_network(network: MemGAN) -> OnnxNetwork:
    path = _graph_path(network)
    if path.is_file():
        try:
            return OnnxNetwork(network, OnnxSession(path, "backend='onnx'"))
        except WeightsError:  # damaged, and easily exported again
            path.unlink(missing_ok=True)
    graph = onnx_bytes(network)
    try:
        with atomic_write(path, make_folders=True) as temporary:
            temporary.write_bytes(graph)
    except OutputError as error:  # the graph works all the same, and is exported again the next time
        warnings.warn(f"the graph of backend='onnx' is not kept: {error}", stacklevel=2)
    return OnnxNetwork(network, OnnxSession(graph, "backend='onnx'"))


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
