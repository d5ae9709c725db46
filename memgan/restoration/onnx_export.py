"""Writes a network as one ONNX file, for programs that run such files."""

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memgan.errors import MissingDependencyError
from memgan.network.model import MemGAN
from memgan.runtime.atomic_file import atomic_write

INPUT, OUTPUT = "input", "output"
"""Names of the graph's ends, as the programs that swap and enhance faces expect them."""
_OPSET = 17
_HALF_SUFFIX = "_half"


def export_onnx(
    network: MemGAN, path: str | os.PathLike[str], *, half: bool = False, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write :func:`onnx_bytes` as one file that needs nothing else; returns its path.

    Missing folders are made. An existing file is replaced when the new one is whole.

    Raises:
        MissingDependencyError: if the package onnx is not installed.
        OutputError: if the file cannot be written.
    """
    data = onnx_bytes(network, half=half, metadata=metadata)
    path = Path(path)
    with atomic_write(path, make_folders=True) as temporary:
        temporary.write_bytes(data)
    return path


def onnx_bytes(network: MemGAN, *, half: bool = False, metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of an ONNX file; the same weights give the same bytes.

    The graph takes ``input`` and gives ``output``, both (N, 3, S, S) float32 RGB in [-1, 1] with any N; the output is
    not clamped.

    Args:
        network: in any form; it is not changed.
        half: store matrices in half precision, for a file of half the size. They are widened when the file is loaded
            and the arithmetic stays float32.
        metadata: further entries, such as ``license``; the configuration is always among them.

    Raises:
        MissingDependencyError: if the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            f"exporting to ONNX needs the package onnx ({error}); install it with: pip install 'memgan[onnx]'"
        ) from error
    model = onnx.load_model_from_string(_trace(network))
    if half:
        _store_half(model.graph, onnx)
    entries = {**(metadata or {}), "name": network.config.name, "config": network.config.to_json()}
    onnx.helper.set_model_props(model, dict(sorted(entries.items())))
    model.producer_name, model.producer_version = "memgan", ""
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Picture(nn.Module):
    """The plain form of a network, its picture alone: graphs are made faster by those who run them."""

    def __init__(self, network: MemGAN) -> None:
        super().__init__()
        self.network = MemGAN(network.config, *network.components)

    def forward(self, image: Tensor) -> Tensor:
        restored: Tensor = self.network(image).image
        return restored


def _trace(network: MemGAN) -> bytes:
    size, device = network.config.image_size, next(network.parameters()).device
    export: Any = torch.onnx.export  # its annotation leaves out that it writes into buffers too
    buffer = io.BytesIO()
    training = {module: module.training for module in network.modules()}
    with warnings.catch_warnings(), torch.no_grad():
        # Of shapes that are checked while tracing, of the exporter's age, of slices that it leaves as they are.
        for kind in (torch.jit.TracerWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", kind)
        try:
            export(
                _Picture(network).eval(),
                (
                    torch.zeros(2, 3, size, size, dtype=torch.float32, device=device),
                ),  # not one: a batch of one is taken for a constant
                buffer,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "faces"}, OUTPUT: {0: "faces"}},
                opset_version=_OPSET,
                dynamo=False,  # of the two exporters, the one that does not need onnxscript
            )
        finally:
            for module, was_training in training.items():
                module.training = was_training
    return buffer.getvalue()


def _store_half(graph: Any, onnx: Any) -> None:
    """Exchange every float matrix that half precision can hold for a half one and a cast to the old name."""
    limit = torch.finfo(torch.float16).max
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size == 0 or abs(values).max() > limit:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), name + _HALF_SUFFIX))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], f"widen_{name}", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
