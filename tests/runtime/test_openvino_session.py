"""memgan.runtime.openvino_session: right numbers in both types, its files, threads, forks, devices."""

import concurrent.futures
import copy
import functools
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from memgan.errors import ConfigError, MissingDependencyError, WeightsError
from memgan.runtime import openvino_session
from memgan.runtime.openvino_session import OpenVINOSession, check_provider
from memgan.runtime.privacy import keep_private
from memgan.runtime.threads import library_threads

onnx = pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")
ROOT = Path(__file__).resolve().parents[2]
SIDE, CHANNELS, SLOTS = 16, 12, 20
COMPUTES_IN_BFLOAT16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def graph() -> bytes:
    """Attention over slots as the memory reads them, row by row, then a convolution with a bias and a map of noise."""
    draw = np.random.default_rng(0).normal
    slots = draw(size=(SLOTS, CHANNELS))
    values = {
        "slots": np.broadcast_to(slots, (SIDE, 1, SLOTS, CHANNELS)),
        "keys": np.broadcast_to(slots.T, (SIDE, 1, CHANNELS, SLOTS)),
        "kernel": draw(size=(CHANNELS, CHANNELS, 1, 1)),
        "bias": draw(size=CHANNELS),
        "noise": draw(size=(1, 1, SIDE, SIDE)),
    }
    node = onnx.helper.make_node
    nodes = [
        node("Transpose", ["input"], ["last"], perm=[2, 0, 3, 1]),  # (H, 1, W, C): one row of the picture each
        node("MatMul", ["last", "keys"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "slots"], ["read"]),
        node("Transpose", ["read"], ["first"], perm=[1, 3, 0, 2]),
        node("Conv", ["first", "kernel", "bias"], ["mixed"]),
        node("Add", ["mixed", "noise"], ["noisy"]),
        node("LeakyRelu", ["noisy"], ["output"], alpha=0.2),
    ]
    shape = ["faces", CHANNELS, SIDE, SIDE]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("input", "output")]
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(v, np.float32), name) for name, v in values.items()]
    made = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


@functools.cache
def picture() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(1, CHANNELS, SIDE, SIDE)).astype(np.float32)


@functools.cache
def expected() -> np.ndarray:
    """By numpy, in float64."""
    given = {
        t.name: onnx.numpy_helper.to_array(t).astype(float) for t in onnx.load_from_string(graph()).graph.initializer
    }
    scores = picture().astype(float).transpose(2, 0, 3, 1) @ given["keys"]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    read = (weights / weights.sum(-1, keepdims=True)) @ given["slots"]
    mixed = np.einsum("oc,hbwc->bohw", given["kernel"][:, :, 0, 0], read) + given["bias"][:, None, None]
    noisy = mixed + given["noise"]
    return np.where(noisy < 0, 0.2 * noisy, noisy)


def made(session: OpenVINOSession) -> np.ndarray:
    return session.run(["output"], {"input": picture()})[0]


def test_numbers_in_float32() -> None:
    session = OpenVINOSession(graph(), "this test")
    np.testing.assert_allclose(made(session), expected(), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(session.run(None, {"input": picture()})[0], made(session))


@pytest.mark.skipif(not COMPUTES_IN_BFLOAT16, reason="the processor does not compute in bfloat16")
def test_numbers_in_bfloat16_where_rows_do_not_fill_the_matrix_unit() -> None:
    junk = [np.full(2**20, np.nan, np.float32) for _ in range(8)]  # memory that is given back is full of it
    del junk
    error = made(OpenVINOSession(graph(), "this test", dtype="bfloat16")) - expected()
    assert 1e-4 < error.std() / expected().std() < 0.02  # it is bfloat16, and right


def test_rows_are_filled_and_noise_stays_small(tmp_path: Path) -> None:
    model = openvino_session._prepared(openvino.Core().read_model(graph()), openvino.opset13)
    (softmax,) = (node for node in model.get_ordered_ops() if node.get_type_name() == "Softmax")
    first, second = softmax.input_value(0).get_node().input_values()
    assert list(first.get_shape()) == [SIDE, 1, SIDE, 32] and list(second.get_shape()) == [SIDE, 1, 32, SLOTS]
    assert list(model.input(0).get_shape()) == [1, CHANNELS, SIDE, SIDE]
    with_noise = _one_addition(256, 64)
    OpenVINOSession(with_noise, "this test").save(tmp_path / "x.blob")
    assert (tmp_path / "x.blob").stat().st_size < 4 * 256 * 64 * 64 / 4  # or the map was folded into all channels


def _one_addition(channels: int, side: int) -> bytes:
    tensors = {
        "kernel": np.ones((channels, 1, 1, 1)),
        "bias": np.arange(channels),
        "noise": np.ones((1, 1, side, side)),
    }
    nodes = [
        onnx.helper.make_node("Conv", ["input", "kernel", "bias"], ["mixed"]),
        onnx.helper.make_node("Add", ["mixed", "noise"], ["output"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["faces", width, side, side])
        for name, width in (("input", 1), ("output", channels))
    ]
    values = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()]
    made = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], values)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def test_files_give_the_same_and_damage_is_seen(tmp_path: Path) -> None:
    session, path = OpenVINOSession(graph(), "this test"), tmp_path / "folder" / "x.blob"
    session.save(path)
    np.testing.assert_array_equal(made(OpenVINOSession(path, "this test")), made(session))
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (b"", whole[:40], whole[:-1], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"this test: .*x\.blob is damaged"):
            OpenVINOSession(path, "this test")
    with pytest.raises(WeightsError, match="cannot run its ONNX data on CPU"):
        OpenVINOSession(graph()[:200], "this test")


def test_threads_are_those_of_torch_and_share_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_session, "usable_cores", lambda: 2)
    with library_threads(1, 1):
        session = OpenVINOSession(graph(), "this test")
    ask = session._session.get_property
    assert ask("NUM_STREAMS") == 2 and ask("INFERENCE_NUM_THREADS") <= 2 and ask("ENABLE_CPU_PINNING") is False
    before = torch.get_num_threads(), os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: made(session), range(16)))
    assert all(np.array_equal(result, results[0]) for result in results)
    assert before == (torch.get_num_threads(), os.sched_getaffinity(0) if before[1] is not None else None)
    with library_threads(2, 2):
        alone = OpenVINOSession(graph(), "this test")._session
    assert alone.get_property("NUM_STREAMS") == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_copies(copied, tmp_path: Path) -> None:
    session, path = OpenVINOSession(graph(), "this test"), tmp_path / "x.blob"
    session.save(path)
    for one in (session, OpenVINOSession(path, "this test")):
        np.testing.assert_array_equal(made(copied(one)), made(session))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_gets_a_session_of_its_own() -> None:
    code = """
import os, signal
import numpy as np
from test_openvino_session import graph, made
from memgan.runtime.openvino_session import OpenVINOSession
session = OpenVINOSession(graph(), "this test")
first = made(session)
child = os.fork()
if child == 0:
    signal.alarm(60)
    same = np.array_equal(made(session), first)
    del session  # waits for nothing
    os._exit(0 if same else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(made(session), first)
"""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env={**os.environ, "PYTHONPATH": paths})


@pytest.mark.parametrize("provider", ["GPU.7", "CUDA", "", "AUTO:CPU,XPU", "HETERO"])
def test_devices_that_are_not_there(provider: str) -> None:
    with pytest.raises(ConfigError, match=r"finds here are .*CPU.*: take one of them.*OpenCL.*driver"):
        check_provider(provider, "this test")


@pytest.mark.parametrize("provider", ["cpu", "CPU", "auto", "AUTO:CPU", "HETERO:CPU"])
def test_devices_that_are_there(provider: str, tmp_path: Path) -> None:
    session = OpenVINOSession(graph(), "this test", provider)
    np.testing.assert_allclose(made(session), expected(), rtol=0, atol=1e-4)
    session.save(tmp_path / "x.blob")
    assert (tmp_path / "x.blob").is_file() == (provider.upper() == "CPU")


def test_a_device_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    core = types.SimpleNamespace(available_devices=["CPU"], get_property=lambda *_: ["FP32", "EXPORT_IMPORT"])
    monkeypatch.setattr(openvino_session, "_core", lambda _: core)
    with pytest.raises(ConfigError, match="CPU does not compute in it; use dtype='float32'"):
        check_provider("CPU", "this test", "bfloat16")
    assert check_provider("cpu", "this test") == "CPU"


def test_without_openvino_or_with_one_that_gives_wrong_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(openvino, "__version__", "2025.4.1-20426-82bbf0292c5")
        with pytest.raises(MissingDependencyError, match=r"from 2026\.4, and here is 2025\.4\.1.*memgan\[openvino\]"):
            check_provider("CPU", "this test")
    least = ".".join(map(str, openvino_session.LEAST_VERSION))
    assert f'"openvino>={least}"' in (ROOT / "setup.py").read_text("utf-8")  # the extra's is the same
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    with pytest.raises(MissingDependencyError, match=r"this test needs the package openvino .*memgan\[openvino\]"):
        check_provider("CPU", "this test")


@pytest.mark.slow
def test_its_reporter_is_held_back_unless_the_program_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import sys
from memgan.runtime.openvino_session import check_provider
check_provider("CPU", "this test")
print(sys.modules["openvino_telemetry"])
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__)
"""
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings)
    assert run.stdout.split() == ["None", "openvino.tools.ovc.telemetry_stub"], run.stderr
    own = types.ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", own)
    keep_private("openvino")
    assert sys.modules["openvino_telemetry"] is own
