"""The exported graph: what onnxruntime makes of it is what torch makes of the network."""

import builtins
import copy
import dataclasses
import json

import numpy as np
import onnxruntime
import pytest
import torch
from tiny import FAST_CONFIG as CONFIG
from tiny import TINY, save_tiny_weights, trained
from tiny import random_faces as faces

from memgan import MemGAN
from memgan.apps.cli import main as cli
from memgan.errors import MissingDependencyError, OutputError
from memgan.hub import sha256_of
from memgan.hub.registry import REGISTRY
from memgan.network.config import MemGANConfig
from memgan.network.fast import prepare_for_inference
from memgan.restoration.onnx_export import export_onnx, onnx_bytes

onnx = pytest.importorskip("onnx")
CASES = {
    "mobile": CONFIG,
    "mobile, as shipped": dataclasses.replace(CONFIG, memory_residual=True, degradation_conditioning=True),
    "mobile, two scales": dataclasses.replace(CONFIG, fusion_scales=(8, 32), use_memory=False),
    "stylegan2": TINY,
    "stylegan2, literal read": dataclasses.replace(TINY, memory_normalize=False, memory_temperature=0.1),
}


def run(graph: bytes, image: torch.Tensor) -> np.ndarray:
    (output,) = onnxruntime.InferenceSession(graph).run(["output"], {"input": image.numpy()})
    return output


def network_of(config: MemGANConfig) -> MemGAN:
    return trained(config).requires_grad_(False)


@pytest.mark.parametrize("case", CASES)
def test_a_graph_gives_the_pictures_of_its_network_for_any_number_of_faces(case):
    network = network_of(CASES[case])
    graph = onnx_bytes(network)
    for count in (1, 3):
        expected = network(faces(count)).image.numpy()
        scale = max(1.0, np.abs(expected).max())
        assert expected.std() > 0.01
        np.testing.assert_allclose(run(graph, faces(count)) / scale, expected / scale, rtol=0, atol=1e-4)


def test_the_ends_of_the_graph_and_what_it_says_of_itself(tmp_path):
    path = export_onnx(network_of(CONFIG), tmp_path / "new" / "face.onnx", metadata={"license": "none"})
    session = onnxruntime.InferenceSession(path)
    (start,), (end,) = session.get_inputs(), session.get_outputs()
    assert (start.name, end.name) == ("input", "output") and start.type == end.type == "tensor(float)"
    for shape in (start.shape, end.shape):
        assert isinstance(shape[0], str) and shape[1:] == [3, 32, 32]
    entries = session.get_modelmeta().custom_metadata_map
    assert entries["license"] == "none" and entries["name"] == "small"
    assert MemGANConfig.from_json(entries["config"]) == CONFIG
    assert [file.name for file in path.parent.iterdir()] == ["face.onnx"]  # all in one file
    assert b".py" not in path.read_bytes()  # no trace of where it was made


def test_the_same_weights_give_the_same_bytes_from_any_form_and_leave_the_network_alone():
    network = trained().train()
    before = copy.deepcopy(network.state_dict())
    graph = onnx_bytes(network)
    assert graph == onnx_bytes(prepare_for_inference(network)) == onnx_bytes(network)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_half_is_smaller_and_close():
    config = dataclasses.replace(CONFIG, channel_base=1024, channel_max=64)
    network = network_of(config)
    full, half = onnx_bytes(network), onnx_bytes(network, half=True)
    assert len(half) < 0.75 * len(full)
    expected = network(faces()).image.numpy()
    error = np.abs(run(half, faces()) - expected).max() / np.abs(expected).max()
    assert 0 < error < 0.02


def test_numbers_beyond_half_precision_stay_whole():
    network = network_of(CONFIG)
    with torch.no_grad():
        network.encoder.levels[0].enter.weight *= 1e6
        network.encoder.levels[1].enter.weight *= 1e-6
    expected = network(faces()).image.numpy()
    output = run(onnx_bytes(network, half=True), faces())
    assert np.isfinite(output).all()
    assert np.abs(output - expected).mean() < 0.2 * np.abs(expected).mean()


def test_without_onnx_the_remedy_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "onnx":
            raise ImportError("No module named 'onnx'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install 'memgan\[onnx\]'"):
        onnx_bytes(trained())


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    folder = tmp_path / "face.onnx"
    folder.mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        export_onnx(trained(), folder)
    assert list(tmp_path.iterdir()) == [folder] and not list(folder.iterdir())


def test_the_command(tmp_path, capsys, monkeypatch):
    weights = save_tiny_weights(tmp_path / "tiny.safetensors")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "onnx", "--model", str(weights)]) == 0
    assert "tiny.onnx" in capsys.readouterr().out
    entries = onnxruntime.InferenceSession("tiny.onnx").get_modelmeta().custom_metadata_map
    assert entries["weights_sha256"] == sha256_of(weights) and entries["license"] == "none"
    assert json.loads(entries["config"])["name"] == "tiny"
    assert cli.main(["export", "onnx", "--model", str(weights), "--half", "-o", "half.onnx"]) == 0
    assert (tmp_path / "half.onnx").stat().st_size < (tmp_path / "tiny.onnx").stat().st_size
    assert cli.main(["export", "onnx", "--model", "nothing_of_the_kind"]) == 2
    assert "memgan: error:" in capsys.readouterr().err


@pytest.mark.slow
def test_shipped_weights(tmp_path):
    path = tmp_path / "memgan.onnx"
    assert cli.main(["export", "onnx", "-o", str(path)]) == 0
    network = MemGAN.from_pretrained().requires_grad_(False)
    image = torch.rand(2, 3, 512, 512, generator=torch.Generator().manual_seed(3)) * 2 - 1
    session = onnxruntime.InferenceSession(path)
    entries = session.get_modelmeta().custom_metadata_map
    assert entries["weights_sha256"] == REGISTRY["memgan-mobile-512"].sha256
    assert "non-commercial" in entries["license"].lower()
    (output,) = session.run(None, {"input": image.numpy()})
    np.testing.assert_allclose(output, network(image).image.numpy(), rtol=0, atol=1e-4)
