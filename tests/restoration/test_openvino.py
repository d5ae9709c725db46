"""backend="openvino": the faces of torch in both number types, its cache, what it refuses, the command."""

import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, scene
from tiny import FAST_CONFIG as CONFIG
from tiny import random_faces as faces
from tiny import trained

from memgan import MemGANRestorer, hub
from memgan.apps.cli import main as cli
from memgan.errors import ConfigError
from memgan.image import load_picture, save_picture
from memgan.image.picture import from_array
from memgan.restoration import backends
from memgan.restoration.backends import ExportedNetwork, with_backend
from memgan.runtime.openvino_session import OpenVINOSession

pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")
COMPUTES_IN_BFLOAT16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def restorer(**options):
    weights = hub.Checkpoint(CONFIG, trained().state_dict())
    detector = FakeDetector(face_at(80, 60))
    return MemGANRestorer(weights, **{"device": "cpu", "detector": detector, "upscale": 1, **options})


def test_faces_are_those_of_torch_and_evidence_is_kept():
    by_openvino, by_torch = restorer(backend="openvino", provider="cpu"), restorer(dtype="float32")
    assert isinstance(by_openvino.network, ExportedNetwork)
    made, expected = (r.restore(scene(), evidence=True).faces[0] for r in (by_openvino, by_torch))
    assert np.abs(made.restored.astype(int) - expected.restored).max() <= 1 and expected.restored.std() > 1
    assert set(made.evidence) == set(expected.evidence)


@pytest.mark.skipif(not COMPUTES_IN_BFLOAT16, reason="the processor does not compute in bfloat16")
def test_bfloat16_within_autocast_and_float32_outside(home):
    network = trained().requires_grad_(False)
    exact = network(faces()).image
    by_openvino = with_backend(network, "openvino", device=torch.device("cpu"), dtype=torch.bfloat16)
    assert torch.equal(by_openvino(faces())[0], exact)
    with torch.autocast("cpu", torch.bfloat16):
        error = by_openvino(faces())[0] - exact
    assert 1e-4 < error.square().mean().sqrt() / exact.std() < 0.05


def test_what_is_compiled_is_kept_and_damage_is_replaced(home, monkeypatch):
    network = trained()
    expected = with_backend(network, "openvino", **CPU)(faces())[0]
    (path,) = (home / "openvino").glob("*.blob")
    with monkeypatch.context() as patch:
        patch.setattr(backends, "onnx_bytes", lambda *_: pytest.fail("exported again"))
        assert torch.equal(with_backend(network, "openvino", **CPU)(faces())[0], expected)
    damaged = path.read_bytes()[:-9]
    path.write_bytes(damaged)
    assert torch.equal(with_backend(network, "openvino", **CPU)(faces())[0], expected)
    assert path.read_bytes() != damaged and backends._kept_session(
        path, lambda file: OpenVINOSession(file, "this test")
    )
    assert {entry.name for entry in home.iterdir()} == {"openvino"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "openvino", "provider": "GPU.9"}, "provider is 'GPU.9'; the devices that OpenVINO finds here"),
        ({"backend": "onnx", "provider": "Unheard"}, "provider is 'Unheard'; the installed onnxruntime has .*CPU"),
        ({"backend": "onnx", "provider": ["CUDA", "CPU"]}, r"provider is \['CUDA.*name of one"),
        ({"backend": "openvino", "provider": " "}, "provider is ' '; give the name of one"),
        ({"backend": "torch", "provider": "CPU"}, "torch computes on the device: leave provider out"),
    ],
)
def test_providers_that_are_not_there(options, message, monkeypatch):
    monkeypatch.setattr(backends, "onnx_bytes", lambda *_: pytest.fail("exported before it was refused"))
    with pytest.raises(ConfigError, match=message):
        restorer(**options)


@pytest.mark.parametrize("provider", ["CPUExecutionProvider", "cpu"])
def test_a_provider_of_onnxruntime(provider, home):
    network = trained()
    made = with_backend(network, "onnx", provider=provider, **CPU)(faces())[0]
    torch.testing.assert_close(made, network(faces()).image, rtol=0, atol=1e-4)


def test_the_command(tmp_path):
    network = trained()
    weights = hub.save(tmp_path / "small.safetensors", CONFIG, network.state_dict())
    save_picture(from_array(scene(32, 32), "rgb"), tmp_path / "face.png")
    made = []
    for backend in (["torch"], ["openvino", "--provider", "CPU"]):
        words = [str(tmp_path / "face.png"), "-o", str(tmp_path / backend[0]), "--weights", str(weights)]
        words += ["--aligned", "--device", "cpu", "--dtype", "float32", "--backend", *backend]
        assert cli.main(["restore", *words]) == 0
        (file,) = (tmp_path / backend[0] / "restored_faces").iterdir()
        made.append(load_picture(file).rgb.astype(int))
    assert np.abs(made[0] - made[1]).max() <= 1 and made[0].std() > 1
