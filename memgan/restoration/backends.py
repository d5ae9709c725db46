"""Runs the network of a restorer by torch, or by onnxruntime or OpenVINO from an exported graph.

torch is the default: the fast form of the embedded weights (:mod:`memgan.network.fast`) needs neither an export nor a
second copy of the weights.
"""

import contextlib
import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, OutputError, WeightsError
from memgan.hub.cache import cache_folder, keep_newest
from memgan.hub.download import locked
from memgan.network.config import MemGANConfig
from memgan.network.model import MemGAN
from memgan.restoration.named_weights import weights_digest
from memgan.restoration.onnx_export import INPUT, onnx_bytes
from memgan.runtime import onnx_session, openvino_session
from memgan.runtime.checks import check_choice
from memgan.runtime.choices import BACKENDS
from memgan.runtime.device import dtype_name
from memgan.runtime.onnx_session import OnnxSession
from memgan.runtime.openvino_session import OpenVINOSession
from memgan.runtime.session import Session

KEPT_GRAPHS = 4
"""Of each backend. Each has the size of the network's weights in float32, or a quarter more."""
_CPU = "CPU"
_DTYPES = {"onnx": (torch.float32,), "openvino": (torch.float32, torch.bfloat16)}


class ExportedNetwork(nn.Module):
    """A network, ``trained``, whose pictures another library makes, by a session of its exported graph.

    The network makes the picture itself where the input is not on the CPU, and outside of autocast if the session
    computes in bfloat16: so a restorer has float32 at hand. Threads may share it.
    """

    def __init__(self, network: MemGAN, session: Session, dtype: torch.dtype) -> None:
        super().__init__()
        self.trained = network
        self._session = session
        self._dtype = dtype

    @property
    def config(self) -> MemGANConfig:
        """The network's."""
        return self.trained.config

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """(B, 3, S, S) RGB in [-1, 1] to the restored faces alone, of the same shape."""
        is_meant = self._dtype == torch.float32 or torch.is_autocast_enabled("cpu")
        if image.device.type != "cpu" or not is_meant:
            return (self.trained(image).image,)
        self.trained.check_image(image)
        # One by one: a batch is no faster on a CPU, and takes as many times the memory.
        faces = [self._session.run(None, {INPUT: face.numpy()})[0] for face in image.detach().float()[:, None]]
        return (torch.from_numpy(np.concatenate(faces)),)


def with_backend(
    network: nn.Module, backend: str, *, device: torch.device, dtype: torch.dtype, provider: str | None = None
) -> nn.Module:
    """A restorer's network in the form in which ``backend`` runs it.

    Args:
        backend: ``torch``: as it is; ``onnx``: by onnxruntime; ``openvino``: by OpenVINO. For these two the graph is
            exported at the first time (seconds). The graph or what OpenVINO compiles of it is kept in memgan's cache,
            which has those of the :data:`KEPT_GRAPHS` networks used last.
        device, dtype: what the restorer runs on and in.
        provider: what the backend computes on, see :func:`memgan.runtime.onnx_session.check_provider` and
            :func:`memgan.runtime.openvino_session.check_provider`; ``None``: the CPU.

    Raises:
        ConfigError: if ``backend`` is none of them; ``onnx`` with anything but a MemGAN in float32 on the CPU,
            ``openvino`` with anything but one in float32 or bfloat16 on the CPU; if the provider is not there, or is
            given for ``torch``.
        MissingDependencyError: if the packages of the backend are not installed.
    """
    check_choice("backend", backend, BACKENDS)
    if provider is not None and not (isinstance(provider, str) and provider.strip()):
        raise ConfigError(
            f"provider is {provider!r}; give the name of one, such as 'CUDAExecutionProvider' or 'GPU', or None for "
            "the CPU."
        )
    if backend == "torch":
        if provider is not None:
            raise ConfigError(
                f"provider is {provider!r}, which is for backend='onnx' and backend='openvino'; torch computes on the "
                "device: leave provider out."
            )
        return network
    allowed = _DTYPES[backend]
    if not isinstance(network, MemGAN) or device.type != "cpu" or dtype not in allowed:
        given = f"{type(network).__name__} in {dtype_name(dtype)} on {str(device)!r}"
        raise ConfigError(
            f"backend={backend!r} is for a MemGAN in {' or '.join(map(dtype_name, allowed))} on the CPU, not for "
            f"{given}; use backend='torch', or device='cpu' and dtype='float32'."
        )
    purpose = f"backend={backend!r}"
    opened: Callable[[bytes | Path], Session]
    if backend == "onnx":
        provider = onnx_session.check_provider(provider or _CPU, purpose)
        opened = functools.partial(OnnxSession, purpose=purpose, provider=provider)
        path = cache_folder() / "onnx" / f"{_digest(network)}.onnx"
    else:
        provider = openvino_session.check_provider(provider or _CPU, purpose, dtype_name(dtype))
        opened = functools.partial(OpenVINOSession, purpose=purpose, provider=provider, dtype=dtype_name(dtype))
        compiler = openvino_session.fingerprint(provider, purpose), dtype_name(dtype)
        path = cache_folder() / "openvino" / f"{_digest(network, *compiler)}.blob"
    return ExportedNetwork(network, _session(network, path, opened), dtype)


def _session(network: MemGAN, path: Path, opened: Callable[[bytes | Path], Session]) -> Session:
    """A session of the file at ``path``, which is written first if it is missing or damaged."""
    session = _kept_session(path, opened)
    if session is not None:
        return session
    made: Session | None = None
    try:
        with locked(path.with_name("graphs")):  # of several processes one exports, and the others wait for it
            session = _kept_session(path, opened)
            if session is not None:
                return session
            made = opened(onnx_bytes(network))
            made.save(path)
            keep_newest(path.parent, path.suffix, KEPT_GRAPHS)
    except OutputError as error:  # the session works all the same, and is made again the next time
        warnings.warn(f"the graph of backend={path.parent.name!r} is not kept: {error}", stacklevel=2)
    return opened(onnx_bytes(network)) if made is None else made


def _kept_session(path: Path, opened: Callable[[bytes | Path], Session]) -> Session | None:
    """A session of a file in the cache; ``None`` if there is none that is whole."""
    if not path.is_file():
        return None
    try:
        session = opened(path)
    except WeightsError:  # damaged, and easily made again
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the files used last are kept
    return session


def _digest(network: MemGAN, *further: str) -> str:
    """Of these weights, as this version of memgan and torch exports them, and of what else a file depends on."""
    digest = hashlib.sha256(repr((torch.__version__, weights_digest(network), *further)).encode())
    package = Path(__file__).resolve().parents[1]
    for source in (package / "restoration" / "onnx_export.py", *sorted((package / "network").glob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:32]
