"""Opens ONNX files in onnxruntime."""

import ctypes
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from memgan.errors import MissingDependencyError, WeightsError
from memgan.runtime.privacy import keep_private


class OnnxSession:
    """An ``onnxruntime.InferenceSession`` on the CPU that several threads at once may run, and that outlives a fork.

    As many threads work for it as torch has where it is made, or in a fork where it runs first. Pickled, it is the
    file's bytes or path.

    Args:
        network: bytes or path of an ONNX file.
        purpose: what needs it, for the errors' messages.

    Raises:
        MissingDependencyError: if onnxruntime is not installed.
        WeightsError: if it cannot run the file.
    """

    def __init__(self, network: bytes | str | os.PathLike[str], purpose: str) -> None:
        self._source = network if isinstance(network, bytes) else os.fspath(network)
        self._purpose = purpose
        self._session = _opened(self._source, purpose)
        self._forked = False
        self._lock = threading.Lock()
        _sessions.add(self)

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The named outputs (``None``: all) for these inputs."""
        if self._forked:
            with self._lock:
                if self._forked:
                    self._session = _opened(self._source, self._purpose)
                    self._forked = False
        found: list[np.ndarray] = self._session.run(outputs, inputs)
        return found

    def __reduce__(self) -> tuple[type["OnnxSession"], tuple[bytes | str, str]]:
        return OnnxSession, (self._source, self._purpose)

    def _after_fork(self) -> None:
        """Its threads did not come along: it must neither run again nor be destroyed, which would wait for them."""
        if not self._forked:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
        self._forked, self._lock = True, threading.Lock()


_sessions: "weakref.WeakSet[OnnxSession]" = weakref.WeakSet()


def _opened(source: bytes | str, purpose: str) -> Any:
    keep_private("onnxruntime")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs onnxruntime; install it with: pip install onnxruntime"
        ) from error
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
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # its own kinds of error have no common base but this one
        what = "its ONNX data" if isinstance(source, bytes) else source
        raise WeightsError(
            f"{purpose}: onnxruntime cannot run {what} ({error}); it is damaged, or needs a newer one."
        ) from error


def _after_fork() -> None:
    for session in _sessions:
        session._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
