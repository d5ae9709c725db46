"""memgan.runtime.onnx_session: graphs of any content are opened, or refused by the library's own errors."""

import functools
import random
from pathlib import Path

import numpy as np
import pytest
from fuzzing import damaged, fuzz

from memgan.errors import WeightsError
from memgan.runtime.onnx_session import OnnxSession

onnx = pytest.importorskip("onnx")


@functools.cache
def graph() -> bytes:
    """A convolution and what follows it, as in an exported network."""
    tensor = functools.partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    weights = {"kernel": np.ones((3, 3, 3, 3), np.float32), "bias": np.zeros(3, np.float32)}
    nodes = [
        onnx.helper.make_node("Conv", ["input", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("LeakyRelu", ["c"], ["r"], alpha=0.2),
        onnx.helper.make_node("Concat", ["r", "input"], ["b"], axis=1),
        onnx.helper.make_node("ReduceMean", ["b"], ["output"], axes=[1], keepdims=1),
    ]
    shape = ["faces", 3, 8, 8]
    made = onnx.helper.make_graph(
        nodes,
        "g",
        [tensor(name="input", shape=shape)],
        [tensor(name="output", shape=["faces", 1, 8, 8])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def with_other_parts(generator: random.Random) -> bytes:
    """The graph with operations, names, sides and values exchanged."""
    model = onnx.load_model_from_string(graph())
    for _ in range(generator.randint(1, 3)):
        node, tensor = generator.choice(model.graph.node), generator.choice(model.graph.initializer)
        match generator.randrange(7):
            case 0:
                node.op_type = generator.choice(["Relu", "MatMul", "Conv", "Nothing", "", "Reshape", "If"])
            case 1:
                node.input[generator.randrange(len(node.input))] = generator.choice(["input", "output", "", "c", "x"])
            case 2:
                tensor.dims[generator.randrange(len(tensor.dims))] = generator.choice([0, 1, -1, 4, 2**31, 2**62])
            case 3:
                tensor.data_type = generator.choice([0, 1, 2, 7, 10, 16, 99])
            case 4:
                tensor.raw_data = tensor.raw_data[: generator.randrange(len(tensor.raw_data) + 1)]
            case 5 if node.attribute:
                attribute = generator.choice(node.attribute)
                attribute.i, attribute.type = generator.choice([0, -1, 2**40]), generator.choice([1, 2, 3, 6, 7])
            case _:
                model.opset_import[0].version = generator.choice([0, 1, 13, 18, 99, 2**40])
    data: bytes = model.SerializeToString()
    return data


def test_what_is_read() -> None:
    found = OnnxSession(graph(), "this test").run(None, {"input": np.ones((2, 3, 8, 8), np.float32)})[0]
    assert found.shape == (2, 1, 8, 8) and found[0, 0, 4, 4] == (3 * 27 + 3) / 6


def test_damage_that_makes_an_unreadable_message(capfd: pytest.CaptureFixture[str]) -> None:
    model = graph().replace(b"kernel", b"\x80ernel")  # named by onnxruntime's own error, which is then no UTF-8
    with pytest.raises(WeightsError, match="cannot run its ONNX data"):
        OnnxSession(model.replace(b"LeakyRelu", b"LeakyRel\x80"), "this test")
    assert not capfd.readouterr().out


def test_fuzz_graphs(tmp_path: Path, fuzz_seconds: float | None, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.onnx"

    def make(generator: random.Random) -> bytes:
        return with_other_parts(generator) if generator.random() < 0.7 else damaged(generator, graph())

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        for source in (data, path):
            try:
                OnnxSession(source, "this test")
            except WeightsError as error:
                assert "this test" in str(error)

    assert fuzz("graphs", make, attempt, fuzz_seconds) >= 60
    assert not capfd.readouterr().out
