"""Weight files of estimators: what they say, and that no kind of network is taken for another."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ESTIMATOR_CONFIG, estimator, register_small, write_tiny_file

from memgan import hub
from memgan.apps.cli.main import main
from memgan.errors import StateMismatchError, WeightsError
from memgan.hub.reliability import CALIBRATED_KEY, load_reliability_of
from memgan.hub.weight_file import kind_of, read_header
from memgan.network.cost import count_cost


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "e.safetensors"
    state = estimator().state_dict()
    return hub.save_reliability(path, ESTIMATOR_CONFIG, state, {"a": "1" * 64}, {"license": "none"}, half=True)


def test_what_is_written_is_read(file: Path) -> None:
    found, wanted = hub.read_reliability(file), estimator().state_dict()
    assert (found.config, found.path) == (ESTIMATOR_CONFIG, file)
    assert found.calibrated_for == {"a": "1" * 64} and found.metadata["license"] == "none"
    assert found.state.keys() == wanted.keys()
    for name, tensor in found.state.items():
        # The calibration is exact: rounding it would undo what it is for.
        tolerance = 0 if name.startswith("calibration.") else 1e-3
        torch.testing.assert_close(tensor, wanted[name], rtol=tolerance, atol=tolerance)
    network = found.build()
    faces = torch.rand(2, 3, 32, 32) * 2 - 1
    made = network(faces, -faces, torch.tensor([0.0, 1.0]))
    for one, other in zip(made, estimator()(faces, -faces, torch.tensor([0.0, 1.0])), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


def test_a_file_that_has_lost_its_header_is_still_of_its_kind(file: Path) -> None:
    save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file)
    assert kind_of(read_header(file)) == "reliability"
    assert hub.read_reliability(file).calibrated_for == {"a": "1" * 64}
    with pytest.raises(WeightsError, match="of the kind 'reliability'; give one of the kind 'restorer'"):
        hub.read(file)


def test_no_kind_is_taken_for_another(file: Path, tmp_path: Path) -> None:
    restorer = write_tiny_file(tmp_path)
    assert kind_of(read_header(restorer)) == "restorer"
    with pytest.raises(WeightsError, match="of the kind 'restorer'; give one of the kind 'reliability'"):
        hub.read_reliability(restorer)
    with pytest.raises(WeightsError, match="of the kind 'reliability'; give one of the kind 'restorer'"):
        hub.load(file)
    with pytest.raises(WeightsError, match="kind"):  # nobody states a kind by hand
        hub.save_reliability(file, ESTIMATOR_CONFIG, {}, {}, {"kind": "restorer"})


@pytest.mark.parametrize("text", [None, "[1]", '{"a": 1}', "{"])
def test_a_file_that_does_not_say_what_it_was_calibrated_for(file: Path, text: str | None) -> None:
    found = hub.read_reliability(file)
    metadata = {name: value for name, value in found.metadata.items() if name != CALIBRATED_KEY}
    if text is not None:
        metadata[CALIBRATED_KEY] = text
    with pytest.raises(WeightsError, match="does not say for which weights"):
        _ = dataclasses.replace(found, metadata=metadata).calibrated_for


def test_tensors_that_do_not_fit(file: Path) -> None:
    found = hub.read_reliability(file)
    with pytest.raises(StateMismatchError, match=r"small-reliability: 1 missing .*look_at_given\.bias"):
        dataclasses.replace(found, state={n: t for n, t in found.state.items() if n != "look_at_given.bias"}).build()


def test_an_estimator_belongs_to_the_weights_it_was_calibrated_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vivid, faithful, _ = register_small(tmp_path, monkeypatch)
    spec = hub.REGISTRY["small"]
    assert set(load_reliability_of(spec).calibrated_for.values()) == {hub.sha256_of(vivid), hub.sha256_of(faithful)}
    with pytest.raises(WeightsError, match="small-faithful has no weights that estimate"):
        load_reliability_of(hub.REGISTRY["small-faithful"])
    with pytest.raises(WeightsError, match="not calibrated for the registered weights 'small'"):
        load_reliability_of(dataclasses.replace(spec, sha256="0" * 64))
    other = dataclasses.replace(hub.REGISTRY["small-faithful"], sha256="0" * 64)
    monkeypatch.setitem(hub.REGISTRY, other.name, other)
    with pytest.raises(WeightsError, match="not calibrated for the registered weights 'small-faithful'"):
        load_reliability_of(spec)


def test_the_commands_tell_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, path = register_small(tmp_path / "home", monkeypatch)
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "small-reliability estimates the error of its pictures" in listed
    assert "small-reliability  (reliability, " in listed
    assert main(["info", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"]["reliability"] == "small-reliability"
    for name in ("small-reliability", str(path)):
        assert main(["info", name, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["config"] == dataclasses.asdict(ESTIMATOR_CONFIG)
        assert told["cost"][-1] == count_cost(ESTIMATOR_CONFIG)[-1]._asdict()
        assert told["cost"][-1]["multiply_adds"] > 0
        assert "small-faithful" in told["weights"]["metadata"][CALIBRATED_KEY]
    assert main(["info", "small-reliability"]) == 0 and "cost of one face of 32 px" in capsys.readouterr().out
    assert main(["download", "small-reliability", "--to", str(tmp_path / "usb")]) == 0
    assert (tmp_path / "usb" / path.name).read_bytes() == path.read_bytes()
    assert main(["verify", "small-reliability"]) == 0
    assert main(["info", "small-faithful", "--json"]) == 0
    assert main(["restore", str(path), "-o", str(tmp_path / "out"), "--weights", "small-reliability"]) == 2
    assert "of the kind 'reliability'" in capsys.readouterr().err
