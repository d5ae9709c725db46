"""Writes tiny OpenVINO IR files of the structure that the package random-face has."""

import zipfile
from pathlib import Path

import numpy as np


class IRWriter:
    """Collects layers and edges; constants go to the binary part."""

    def __init__(self, dtype: type = np.float32) -> None:
        self.dtype, self.layers, self.edges, self.binary = dtype, [], [], b""

    def _add(self, name: str, kind: str, data: str, inputs: tuple[int, ...] = ()) -> int:
        key = len(self.layers)
        self.layers.append(f'<layer id="{key}" name="{name}" type="{kind}" version="opset1"><data {data}/></layer>')
        # Edges in reverse: their order in the file means nothing, the ports do.
        for port, source in reversed(list(enumerate(inputs))):
            self.edges.append(f'<edge from-layer="{source}" from-port="0" to-layer="{key}" to-port="{port}"/>')
        return key

    def const(self, name: str, value: np.ndarray) -> int:
        value = np.asarray(value)
        if value.dtype.kind == "f":
            value = value.astype(self.dtype)
        kind = {"float32": "f32", "float16": "f16", "int64": "i64"}[value.dtype.name]
        shape = ", ".join(str(side) for side in value.shape)
        data = f'element_type="{kind}" shape="{shape}" offset="{len(self.binary)}" size="{value.nbytes}"'
        self.binary += value.tobytes()
        return self._add(name, "Const", data)

    def op(self, kind: str, *inputs: int, data: str = "") -> int:
        return self._add(f"{kind}_{len(self.layers)}", kind, data, inputs)

    def xml(self) -> bytes:
        layers, edges = "\n".join(self.layers), "\n".join(self.edges)
        return f'<?xml version="1.0"?><net version="10"><layers>{layers}</layers><edges>{edges}</edges></net>'.encode()


def tiny_random_face(
    levels: int, *, transpose_b: bool = True, dtype: type = np.float32
) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """Contents of the four data files, and the tensors that a reader must find in them."""
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}

    def draw(key: str, *shape: int) -> np.ndarray:
        tensors[key] = rng.standard_normal(shape).astype(np.float32)
        return tensors[key]

    mapping = IRWriter(dtype)
    x = mapping.op("Parameter")
    mapping.const("axis", np.array(1))
    for i in range(3):
        weight = draw(f"mapping.{i}.weight", 4, 4)
        flag = f'transpose_a="false" transpose_b="{str(transpose_b).lower()}"'
        x = mapping.op("MatMul", x, mapping.const(f"a{i}", weight if transpose_b else weight.T), data=flag)
        bias = mapping.const(f"b{i}", draw(f"mapping.{i}.bias", 1, 4)[0])
        if i != 1:
            bias = mapping.op("Reshape", bias, mapping.const(f"s{i}", np.array([1, 4])))
        x = mapping.op(
            "Multiply", mapping.op("PReLU", mapping.op("Add", x, bias)), mapping.const(f"g{i}", np.float32(2))
        )

    net = IRWriter(dtype)
    w = net.op("Parameter")

    def style(name: str, channels: int) -> int:
        weight = net.const(f"m.{name}.modulation.weight", draw(f"synthesis.{name}.modulation.weight", channels, 4))
        bias = net.const(f"m.{name}.modulation.bias", draw(f"synthesis.{name}.modulation.bias", 1, channels))
        return net.op("Reshape", net.op("Add", net.op("MatMul", w, weight), bias))

    def layer(x: int, name: str, fan_in: int, fan_out: int, side: int, *, separable: bool = True) -> int:
        full = f"synthesis.{name}"
        x = net.op("Multiply", style(f"{name}.conv", fan_in), x)
        if separable:
            depthwise = draw(f"{full}.dw", fan_in, 1, 3, 3)[:, None]
            x = net.op("GroupConvolution", x, net.const(f"m.{name}.conv.weight_dw", depthwise))
        kernel = 1 if separable else 3
        x = net.op(
            "Convolution", x, net.const(f"f{len(net.layers)}", draw(f"{full}.w", fan_out, fan_in, kernel, kernel))
        )
        x = net.op("Add", x, net.const(f"n{len(net.layers)}", draw(f"{full}.noise", 1, 1, side, side)))
        x = net.op("Add", x, net.const(f"m.{name}.bias", draw(f"{full}.bias", 1, fan_out, 1, 1)))
        return net.op("PReLU", x)

    x = layer(net.const("m.input.input", draw("synthesis.input", 1, 8, 4, 4)), "conv1", 8, 8, 4, separable=False)
    for i in range(levels):
        x = net.op("GroupConvolutionBackpropData", net.op("Multiply", style(f"layers.{i}.up", 8), x))
        x = layer(x, f"layers.{i}.conv1", 2, 8, 8 << i)
        x = layer(x, f"layers.{i}.conv2", 8, 8, 8 << i)
    head = f"layers.{levels - 1}.to_img"
    x = net.op("Multiply", style(f"{head}.conv", 8), x)
    x = net.op("Convolution", x, net.const(f"m.{head}.conv.weight", draw("synthesis.img.w", 12, 8, 1, 1)))
    net.op("Add", x, net.const(f"m.{head}.bias", draw("synthesis.img.bias", 1, 12, 1, 1)))
    files = {
        "MappingNetwork.xml": mapping.xml(),
        "MappingNetwork.bin": mapping.binary,
        "SynthesisNetwork.xml": net.xml(),
        "SynthesisNetwork.bin": net.binary,
    }
    return files, tensors


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    """Write the data files where a wheel of random-face has them."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"random_face/data/{name}", content)
    return path
