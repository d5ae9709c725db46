"""Runs the network of a restorer by torch, or by onnxruntime from an exported graph.

torch is the default: the fast form of the embedded weights (:mod:`memgan.network.fast`) is about as fast on a CPU as
onnxruntime is with their graph, and needs neither an export nor a second copy of the weights.
"""

import contextlib
import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, OutputError, WeightsError
from memgan.hub.cache import cache_folder, keep_newest
from memgan.hub.download import locked
from memgan.network.config import MemGANConfig
from memgan.network.model import MemGAN
from memgan.restoration.onnx_export import INPUT, onnx_bytes
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.checks import check_choice
from memgan.runtime.choices import BACKENDS
from memgan.runtime.onnx_session import OnnxSession

KEPT_GRAPHS = 4
"""Each has the size of the network's weights in float32."""
_PURPOSE = "backend='onnx'"


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
            kept in memgan's cache, which has those of the :data:`KEPT_GRAPHS` networks used last.
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
    path, graph = _graph_path(network), None
    session = _kept_session(path)
    try:
        if session is None:
            with locked(path.with_name("graphs")):  # of several processes one exports, and the others wait for it
                session = _kept_session(path)
                if session is None:
                    graph = onnx_bytes(network)
                    with atomic_write(path, make_folders=True) as temporary:
                        temporary.write_bytes(graph)
                    keep_newest(path.parent, path.suffix, KEPT_GRAPHS)
    except OutputError as error:  # the graph works all the same, and is exported again the next time
        warnings.warn(f"the graph of backend='onnx' is not kept: {error}", stacklevel=2)
    if session is None:
        session = OnnxSession(onnx_bytes(network) if graph is None else graph, _PURPOSE)
    return OnnxNetwork(network, session)


def _kept_session(path: Path) -> OnnxSession | None:
    """A session of a graph in the cache; ``None`` if there is none that is whole."""
    if not path.is_file():
        return None
    try:
        session = OnnxSession(path, _PURPOSE)
    except WeightsError:  # damaged, and easily exported again
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the graphs used last are kept
    return session


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
