"""Opens ONNX files in OpenVINO, and keeps the compiled form as files."""

import hashlib
import io
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memgan.errors import ConfigError, MissingDependencyError, WeightsError
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.privacy import keep_private
from memgan.runtime.session import Session
from memgan.runtime.threads import usable_cores

LEAST_VERSION = (2026, 4)
"""Of earlier releases some give wrong pictures without a word (2025.4, 2026.0), hang in bfloat16 (2025.0), or now and
then end the process where a kept network opens (2026.1)."""
_CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16"}
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_SHARED = ("AUTO", "HETERO", "MULTI")
"""Names of devices that hand the work to others."""
_MOST_STREAMS = 4
"""Pictures at once; each holds the network's features."""
_AMX_ROW = 32
"""Numbers of bfloat16 in a row of the matrix unit's tiles."""
_DIGEST_BYTES = hashlib.sha256().digest_size


class OpenVINOSession(Session):
    """A network compiled by OpenVINO as a :class:`Session`, whose threads are those of each run.

    Args:
        network: bytes of an ONNX file with one input, whose first size becomes 1; or path of a file that :meth:`save`
            has written for the same provider and dtype.
        purpose: what needs it, for the errors' messages.
        provider: see :func:`check_provider`.
        dtype: what it computes in, ``"float32"`` or ``"bfloat16"``; a device without float32 computes in its own type.

    Raises:
        MissingDependencyError: if OpenVINO is not installed, or older than :data:`LEAST_VERSION`.
        ConfigError: if the device is not there, or does not compute in ``dtype``.
        WeightsError: if it cannot run the file.
    """

    def __init__(
        self, network: bytes | str | os.PathLike[str], purpose: str, provider: str = "CPU", dtype: str = "float32"
    ) -> None:
        source = network if isinstance(network, bytes) else os.fspath(network)
        super().__init__(source, purpose, check_provider(provider, purpose, dtype), dtype)

    def _open(self) -> Any:
        return _opened(*self._given)

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The named outputs (``None``: all) for these inputs."""
        # A request of its own: the one that a compiled network keeps is for one thread.
        found = self._opened().create_infer_request().infer(dict(inputs))
        return [found[name] for name in outputs] if outputs is not None else list(found.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the compiled network to a file, from which it opens faster; nothing for devices that cannot.

        Raises:
            OutputError: if the file cannot be written.
        """
        _, purpose, provider, _ = self._given
        if _devices(provider) != [provider] or not _has(_core(purpose), provider, "EXPORT_IMPORT"):
            return  # asked all the same, AUTO ends the process
        exported = self._session.export_model()
        data = exported.getvalue() if isinstance(exported, io.BytesIO) else bytes(exported)
        with atomic_write(path, make_folders=True) as temporary, open(temporary, "wb") as file:
            # OpenVINO reads what is there: of a damaged file, numbers that are wrong.
            file.write(hashlib.sha256(data).digest())
            file.write(data)


_cores: dict[int, Any] = {}
_core_lock = threading.Lock()


def check_provider(provider: str, purpose: str, dtype: str = "float32") -> str:
    """The name of a device as OpenVINO spells it.

    Args:
        provider: ``CPU``, ``GPU``, ``GPU.1``, ``NPU``, ``AUTO`` (the best there is) or a list such as ``AUTO:GPU,CPU``,
            in letters of any case.
        purpose: what needs it, for the errors' messages.
        dtype: as for :class:`OpenVINOSession`.

    Raises:
        MissingDependencyError: if OpenVINO is not installed, or older than :data:`LEAST_VERSION`.
        ConfigError: if the device is not there, or does not compute in bfloat16 and should.
    """
    core = _core(purpose)
    name, found = provider.upper(), core.available_devices
    known = {device.partition(".")[0] for device in found} | {"AUTO"}
    if not {device.partition(".")[0] for device in _devices(name)} <= known:
        raise ConfigError(
            f"provider is {provider!r}; the devices that OpenVINO finds here are {', '.join(found)}: take one of them, "
            "AUTO, or AUTO: and a list of them. A GPU needs Intel's compute runtime with OpenCL, an NPU Intel's NPU "
            "driver."
        )
    if dtype == "bfloat16" and not _has(core, name, _CAPABILITIES[dtype]):
        raise ConfigError(
            f"{purpose} in bfloat16: {name} does not compute in it; use dtype='float32', or another provider."
        )
    return name


def fingerprint(provider: str, purpose: str) -> str:
    """What a compiled network depends on besides the network: this module, OpenVINO and the devices."""
    core = _core(purpose)
    names = [core.get_property(device, "FULL_DEVICE_NAME") for device in _devices(provider)]
    abilities = [core.get_property(device, "OPTIMIZATION_CAPABILITIES") for device in _devices(provider)]
    module = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return repr((_library(purpose).__version__, provider, names, abilities, module))


def _devices(provider: str) -> list[str]:
    """The devices that a provider stands for."""
    shared, _, listed = provider.partition(":")
    return [name.strip() for name in listed.split(",")] if shared in _SHARED and listed else [provider]


def _has(core: Any, provider: str, ability: str) -> bool:
    return all(ability in core.get_property(device, "OPTIMIZATION_CAPABILITIES") for device in _devices(provider))


def _core(purpose: str) -> Any:
    """The one of this process, which stays: so the libraries of devices are loaded once."""
    openvino, process = _library(purpose), os.getpid()
    with _core_lock:
        if process not in _cores:  # a fork's parent's, whose threads are gone, is neither used nor destroyed
            _cores[process] = openvino.Core()
        return _cores[process]


def _library(purpose: str) -> Any:
    keep_private("openvino")
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the package openvino ({error}); install it with: pip install 'memgan[openvino]'"
        ) from error
    version = tuple(int(part) for part in openvino.__version__.split(".")[:2])
    if version < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise MissingDependencyError(
            f"{purpose} needs openvino from {least}, and here is {openvino.__version__}, which may give wrong "
            "pictures; install it with: pip install --upgrade 'memgan[openvino]'"
        )
    return openvino


def _opened(source: bytes | str, purpose: str, provider: str, dtype: str) -> Any:
    core = _core(purpose)
    what = "its ONNX data" if isinstance(source, bytes) else source
    try:
        settings = _settings(core, provider, dtype)
        if isinstance(source, bytes):
            return core.compile_model(_prepared(core.read_model(source), _library(purpose).opset13), provider, settings)
        with open(source, "rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
        if hashlib.sha256(data).digest() != digest:
            raise WeightsError(f"{purpose}: {source} is damaged; delete it.")
        return core.import_model(data, provider, settings)
    except WeightsError:
        raise
    except Exception as error:  # its own kinds of error have no common base but this one
        raise WeightsError(
            f"{purpose}: OpenVINO cannot run {what} on {provider} ({error}); it is damaged, or needs a newer one."
        ) from error


def _settings(core: Any, provider: str, dtype: str) -> dict[str, Any]:
    threads = torch.get_num_threads()
    streams = max(1, min(_MOST_STREAMS, usable_cores() // threads))
    own: dict[str, Any] = {
        "NUM_STREAMS": streams,  # runs at the same time, in which the threads of all are shared out
        "INFERENCE_NUM_THREADS": streams * threads,
        "ENABLE_CPU_PINNING": False,  # several processes would be held to the same cores
    }
    settings: dict[str, Any] = own if provider == "CPU" else {}
    if "CPU" in _devices(provider) and provider != "CPU":
        settings = {"DEVICE_PROPERTIES": {"CPU": own}}
    if _has(core, provider, _CAPABILITIES[dtype]):
        settings["INFERENCE_PRECISION_HINT"] = _PRECISIONS[dtype]
    return settings


def _prepared(model: Any, operations: Any) -> Any:
    """The graph for one picture, without what OpenVINO computes wrongly or slowly; ``operations``: OpenVINO's own."""
    shape = model.input(0).get_partial_shape()
    shape[0] = 1
    model.reshape(shape)  # more of it is fused where all sizes are known
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Softmax":
            _fill_rows(node.input_value(0).get_node(), operations)
        elif node.get_type_name() == "Add":
            _keep_small(node, operations)
    model.validate_nodes_and_infer_types()
    return model


def _fill_rows(product: Any, operations: Any) -> None:
    """Widen the two factors of attention's scores by zeros to whole rows of the matrix unit.

    OpenVINO multiplies what lies behind a row that is not full too, in bfloat16: often NaN.
    """
    if product.get_type_name() != "MatMul" or any(product.get_attributes().values()):
        return
    missing = -product.input_value(0).get_shape()[-1] % _AMX_ROW
    for number, axis in ((0, -1), (1, -2)):
        factor = product.input_value(number)
        begin = np.zeros(len(factor.get_shape()), np.int64)
        end = begin.copy()
        end[axis] = missing
        if missing:
            widened = operations.pad(factor, begin, end, "constant", np.float32(0))
            product.input(number).replace_source_output(widened.output(0))


def _keep_small(addition: Any, operations: Any) -> None:
    """Keep a map (1, 1, H, W) that is added from being added to a bias before, as all channels of it: 270 MB of noise.

    Between the two comes what changes no number and is no part of a sum.
    """
    largest = float(np.finfo(np.float32).max)
    for number in (0, 1):
        constant = addition.input_value(number)
        shape = constant.get_shape()
        if constant.get_node().get_type_name() == "Constant" and len(shape) == 4 and shape[2] * shape[3] > 1:
            same = operations.clamp(addition.input_value(1 - number), -largest, largest)
            addition.input(1 - number).replace_source_output(same.output(0))


def _after_fork() -> None:
    global _core_lock
    _core_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
