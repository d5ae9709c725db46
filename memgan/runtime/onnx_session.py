"""Opens ONNX files in onnxruntime."""

import os
from typing import Any

import torch

from memgan.errors import MissingDependencyError, WeightsError


def open_session(network: bytes | str | os.PathLike[str], purpose: str) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU, of the bytes or the path of an ONNX file.

    Several threads at once may run it. ``purpose`` is what needs it, for the errors' messages.

    Raises:
        MissingDependencyError: if onnxruntime is not installed.
        WeightsError: if it cannot run the file.
    """
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
    source = network if isinstance(network, bytes) else os.fspath(network)
    try:
        # Without its fallback, which prints to standard output and tries the same once more.
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # its own kinds of error have no common base but this one
        what = "its ONNX data" if isinstance(source, bytes) else source
        raise WeightsError(
            f"{purpose}: onnxruntime cannot run {what} ({error}); it is damaged, or needs a newer one."
        ) from error
