"""Opens ONNX files in onnxruntime."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memgan.errors import ConfigError, MissingDependencyError, WeightsError
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.privacy import keep_private
from memgan.runtime.session import Session

_SUFFIX = "ExecutionProvider"
_CPU = f"CPU{_SUFFIX}"
_BUILDS = {
    "CUDA": "onnxruntime-gpu",
    "Tensorrt": "onnxruntime-gpu",
    "Dml": "onnxruntime-directml",
    "CoreML": "onnxruntime on macOS",
    "OpenVINO": "onnxruntime-openvino",
}
"""Packages that bring a provider, each in the place of ``onnxruntime``."""


class OnnxSession(Session):
    """An ``onnxruntime.InferenceSession`` as a :class:`Session`.

    Args:
        network: bytes or path of an ONNX file.
        purpose: what needs it, for the errors' messages.
        provider: see :func:`check_provider`.

    Raises:
        MissingDependencyError: if onnxruntime is not installed.
        ConfigError: if it does not have the provider, or the provider does not start.
        WeightsError: if it cannot run the file.
    """

    def __init__(self, network: bytes | str | os.PathLike[str], purpose: str, provider: str = _CPU) -> None:
        source = network if isinstance(network, bytes) else os.fspath(network)
        super().__init__(source, purpose, check_provider(provider, purpose))

    def _open(self) -> Any:
        return _opened(*self._given)

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The named outputs (``None``: all) for these inputs."""
        found: list[np.ndarray] = self._opened().run(outputs, inputs)
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ONNX file that it runs.

        Raises:
            OutputError: if the file cannot be written.
        """
        source = self._given[0]
        with atomic_write(path, make_folders=True) as temporary:
            temporary.write_bytes(source if isinstance(source, bytes) else Path(source).read_bytes())


def check_provider(provider: str, purpose: str) -> str:
    """The name of an execution provider as onnxruntime spells it.

    Args:
        provider: such as ``CUDAExecutionProvider``, or ``CUDA`` for short, in letters of any case.
        purpose: what needs it, for the errors' messages.

    Raises:
        MissingDependencyError: if onnxruntime is not installed.
        ConfigError: if the installed onnxruntime does not have it.
    """
    wanted = provider.lower().removesuffix(_SUFFIX.lower())
    found = _library(purpose).get_available_providers()
    for name in found:
        if str(name).removesuffix(_SUFFIX).lower() == wanted:
            return str(name)
    builds = ", ".join(f"{short} by {package}" for short, package in _BUILDS.items())
    raise ConfigError(
        f"provider is {provider!r}; the installed onnxruntime has {', '.join(found)}: take one of them, or install the "
        f"package that has it in the place of onnxruntime ({builds})."
    )


def _library(purpose: str) -> Any:
    keep_private("onnxruntime")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs onnxruntime; install it with: pip install onnxruntime"
        ) from error
    return onnxruntime


def _opened(source: bytes | str, purpose: str, provider: str) -> Any:
    onnxruntime = _library(purpose)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; the library itself prints nothing
    # One setting for both libraries: torch follows OMP_NUM_THREADS, onnxruntime by itself does not.
    options.intra_op_num_threads = torch.get_num_threads()
    # Idle workers sleep: spinning ones take the processor from torch, which runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Planned memory is held besides the arena that the first run has filled: twice as much for no more speed.
    options.enable_mem_pattern = False
    try:
        # Without its fallback, which prints to standard output and tries the same again.
        session = onnxruntime.InferenceSession(source, options, providers=[provider], enable_fallback=0)
    except Exception as error:  # its own kinds of error have no common base but this one
        what = "its ONNX data" if isinstance(source, bytes) else source
        raise WeightsError(
            f"{purpose}: onnxruntime cannot run {what} ({error}); it is damaged, or needs a newer one."
        ) from error
    if provider not in session.get_providers():  # it says so in a log only, and takes the CPU
        raise ConfigError(
            f"provider {provider} does not start on this machine: its driver or one of its libraries is missing; "
            "take provider='CPU', or see onnxruntime's page on this provider for what it needs."
        )
    return session
