"""The same faces from onnxruntime as from torch, and the choice between the two."""

import concurrent.futures
import dataclasses
import os
import sys
import time

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene
from tiny import FAST_CONFIG as CONFIG
from tiny import random_faces as faces
from tiny import trained

from memgan import MemGANRestorer, hub
from memgan.apps.cli import main as cli
from memgan.errors import ConfigError, MissingDependencyError, ShapeError
from memgan.image import load_picture, save_picture
from memgan.image.picture import from_array
from memgan.network.fast import FastMemGAN
from memgan.restoration import backends
from memgan.restoration.backends import ExportedNetwork, with_backend
from memgan.restoration.gfpgan import GFPGANNetwork
from memgan.restoration.onnx_export import onnx_bytes

pytest.importorskip("onnx")
CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def checkpoint() -> hub.Checkpoint:
    return hub.Checkpoint(CONFIG, trained().state_dict())


def restorer(weights, **options):
    return MemGANRestorer(
        weights, **{"device": "cpu", "detector": FakeDetector(face_at(80, 60)), "upscale": 1, **options}
    )


def graphs(home):
    return sorted((home / "onnx").glob("*.onnx"))


def test_faces_are_those_of_torch_and_evidence_is_kept(checkpoint):
    by_onnx, by_torch = restorer(checkpoint, backend="onnx"), restorer(checkpoint)
    assert isinstance(by_onnx.network, ExportedNetwork) and isinstance(by_torch.network, FastMemGAN)
    made, expected = (r.restore(scene(), evidence=True).faces[0] for r in (by_onnx, by_torch))
    assert np.abs(made.restored.astype(int) - expected.restored).max() <= 1 and expected.restored.std() > 1
    assert set(made.evidence) == set(expected.evidence)
    assert by_onnx.device == torch.device("cpu") and by_onnx.network.config == CONFIG


def test_weights_and_shapes_mean_what_they_mean_to_torch():
    network = trained().requires_grad_(False)
    by_onnx = with_backend(network, "onnx", **CPU)
    torch.testing.assert_close(by_onnx(faces())[0], network(faces()).image, rtol=0, atol=1e-4)
    half = GFPGANNetwork(by_onnx)(faces(), weight=0.5)[0]
    torch.testing.assert_close(half, (network(faces()).image + faces()) / 2, rtol=0, atol=1e-4)
    with pytest.raises(ShapeError, match=r"takes \(B, 3, 32, 32\)"):
        by_onnx(torch.zeros(1, 3, 16, 16))


def test_the_graph_is_exported_once_per_weights(home, checkpoint, monkeypatch):
    restorer(checkpoint, backend="onnx")
    (first,) = graphs(home)
    with monkeypatch.context() as patch:
        patch.setattr(backends, "onnx_bytes", lambda *_: pytest.fail("exported again"))
        restorer(checkpoint, backend="onnx")
    other = {name: tensor + 0.01 if name.endswith("bias") else tensor for name, tensor in checkpoint.state.items()}
    restorer(hub.Checkpoint(CONFIG, other), backend="onnx")
    assert len(graphs(home)) == 2 and first in graphs(home)


def test_a_damaged_graph_is_replaced(home):
    network = trained()
    expected = with_backend(network, "onnx", **CPU)(faces())[0]
    (path,) = graphs(home)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert torch.equal(with_backend(network, "onnx", **CPU)(faces())[0], expected)
    assert path.read_bytes() == whole


def test_only_the_graphs_used_last_are_kept(home, monkeypatch):
    monkeypatch.setattr(backends, "KEPT_GRAPHS", 2)
    networks = [trained(dataclasses.replace(CONFIG, name=name)) for name in "abc"]
    graph, exported = onnx_bytes(networks[0]), []  # one will do for all: exporting takes long
    monkeypatch.setattr(backends, "onnx_bytes", lambda network: exported.append(network.config.name) or graph)
    for network in networks[:2]:
        with_backend(network, "onnx", **CPU)
    a, b = sorted(graphs(home), key=lambda path: path.stat().st_mtime_ns)
    for path, age in ((a, 50), (b, 40)):
        os.utime(path, (time.time() - age,) * 2)
    left_over, young = (home / "onnx" / f".{name}.tmp" for name in "xy")
    for path, age in ((left_over, 100_000), (young, 10)):
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    with_backend(networks[0], "onnx", **CPU)  # used again: b is now the oldest
    with_backend(networks[2], "onnx", **CPU)
    assert len(graphs(home)) == 2 and a in graphs(home) and b not in graphs(home)
    assert not left_over.exists() and young.exists()
    with_backend(networks[1], "onnx", **CPU)
    assert exported == ["a", "b", "c", "b"]


def test_of_several_at_once_one_exports(home, monkeypatch):
    exported = []
    monkeypatch.setattr(backends, "onnx_bytes", lambda *_: exported.append(time.sleep(0.2)) or onnx_bytes(networks[0]))
    networks = [trained(), trained()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # the lock is one of files: as between processes
        results = list(pool.map(lambda network: with_backend(network, "onnx", **CPU)(faces())[0], networks))
    assert len(exported) == 1 and torch.equal(*results) and len(graphs(home)) == 1


def test_a_cache_that_cannot_be_written_is_done_without(home):
    home.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="is not kept"):
        network = with_backend(trained(), "onnx", **CPU)
    assert network(faces())[0].std() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorrt"}, "backend is 'tensorrt'; allowed are torch, onnx, openvino"),
        ({"backend": "onnx", "dtype": "bfloat16"}, "FastMemGAN in bfloat16 on 'cpu'; use backend='torch'"),
    ],
)
def test_what_no_backend_can_do_is_refused(checkpoint, options, message):
    with pytest.raises(ConfigError, match=message):
        restorer(checkpoint, **options)


def test_without_onnxruntime_the_remedy_is_named(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(MissingDependencyError, match=r"backend='onnx' needs onnxruntime; .*pip install"):
        restorer(checkpoint, backend="onnx")


def test_a_network_of_another_kind_cannot_be_exported():
    options = {"network": FakeNetwork(), "device": "cpu", "detector": FakeDetector()}
    with pytest.raises(ConfigError, match="not for FakeNetwork in float32"):
        MemGANRestorer(backend="onnx", **options)


def test_the_command(tmp_path, checkpoint):
    weights = hub.save(tmp_path / "small.safetensors", checkpoint.config, checkpoint.state)
    save_picture(from_array(scene(32, 32), "rgb"), tmp_path / "face.png")
    made = []
    for backend in ("torch", "onnx"):
        words = [str(tmp_path / "face.png"), "-o", str(tmp_path / backend), "--weights", str(weights)]
        assert cli.main(["restore", *words, "--aligned", "--device", "cpu", "--backend", backend]) == 0
        (file,) = (tmp_path / backend / "restored_faces").iterdir()
        made.append(load_picture(file).rgb.astype(int))
    assert np.abs(made[0] - made[1]).max() <= 1 and made[0].std() > 1
