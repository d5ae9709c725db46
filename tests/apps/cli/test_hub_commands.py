"""The commands around weights: models, download, verify, info and convert, called in this process."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hub_server import FIRST, serving, use
from safetensors.torch import load_file, save_file
from tiny import TINY, save_tiny_weights

from memgan import hub
from memgan.apps.cli import main as cli
from memgan.faces.facexlib_adapter import build_network
from memgan.hub.card import Metrics
from memgan.network.model import build_memgan

DETECTOR = "retinaface_mobile0.25"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``memgan ARGUMENTS`` -> status, output, errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way out."""
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MEMGAN_MIRRORS", raising=False)
    return tmp_path / "home"


@pytest.fixture
def detector(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> hub.WeightSpec:
    """facexlib's smaller detector with random weights, served by a mirror."""
    buffer = io.BytesIO()
    torch.manual_seed(0)
    torch.save(build_network(DETECTOR).state_dict(), buffer)
    data = buffer.getvalue()
    (tmp_path / "mirror").mkdir()
    spec = dataclasses.replace(hub.REGISTRY[DETECTOR], sha256=hashlib.sha256(data).hexdigest(), size=len(data), urls=())
    (tmp_path / "mirror" / spec.filename).write_bytes(data)
    monkeypatch.setitem(hub.REGISTRY, DETECTOR, spec)
    monkeypatch.setenv("MEMGAN_MIRRORS", (tmp_path / "mirror").as_uri())
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    return spec


class TestModels:
    def test_list(self, run: Run, home: Path) -> None:
        status, out, _ = run("models", "--json")
        entries = {entry["name"]: entry for entry in json.loads(out)}
        assert status == 0 and list(entries) == list(hub.REGISTRY)
        for name, spec in hub.REGISTRY.items():
            entry = entries[name]
            assert entry["license"] == spec.license and entry["bytes"] > 1e5
            assert (entry["where"], entry["path"] is None) == (
                ("embedded", False) if spec.embedded else ("remote", True)
            )
        status, out, _ = run("models")
        assert status == 0 and all(name in out for name in hub.REGISTRY) and "default, " in out
        # What the card measured is shown, not what anybody has written into the code.
        metrics = entries[hub.DEFAULT_NAME]["metrics"]
        assert metrics and all(f"{name} {value:g}" in out for name, value in metrics.items())

    def test_what_is_cached_and_what_is_damaged(self, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        metrics = Metrics("this test", {"PSNR": 12.5})
        state = build_memgan(TINY).state_dict()
        path = hub.save(home / "tiny.safetensors", TINY, state, {"metrics": metrics.to_json()})
        spec = hub.WeightSpec("tiny", path.name, hub.sha256_of(path), "none", urls=("https://nowhere.invalid/x",))
        monkeypatch.setitem(hub.REGISTRY, "tiny", spec)
        entry = json.loads(run("models", "--json")[1])[-1]
        assert (entry["where"], entry["metrics"], entry["measured_on"]) == ("cached", {"PSNR": 12.5}, "this test")
        path.write_bytes(path.read_bytes()[:-1])
        status, out, _ = run("models")
        assert status == 0 and "problem" in out and "damaged" in out


class TestDownload:
    def test_registered(self, run: Run, home: Path, detector: hub.WeightSpec, tmp_path: Path) -> None:
        status, out, _ = run("download", DETECTOR)
        assert status == 0 and out.strip() == str(home / detector.filename)
        status, out, _ = run("download", DETECTOR, "--to", tmp_path / "usb" / "stick")
        target = tmp_path / "usb" / "stick" / detector.filename
        assert status == 0 and out.strip() == str(target) and hub.sha256_of(target) == detector.sha256
        assert run("download", DETECTOR, "--to", home)[0] == 0  # onto itself
        assert hub.sha256_of(home / detector.filename) == detector.sha256

    def test_embedded(self, run: Run, home: Path, tmp_path: Path) -> None:
        status, _, _ = run("download", hub.DEFAULT_NAME, "--to", tmp_path)
        spec = hub.REGISTRY[hub.DEFAULT_NAME]
        assert status == 0 and hub.sha256_of(tmp_path / spec.filename) == spec.sha256

    def test_repository(self, run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = save_tiny_weights(tmp_path / "tiny.safetensors").read_bytes()
        with serving() as server:
            use(server, monkeypatch)
            monkeypatch.setenv("MEMGAN_HOME", str(home))
            server.put("me/faces", {"config.json": TINY.to_json().encode(), "model.safetensors": content})
            status, _, err = run("download", "me/faces", "--revision", FIRST, "--to", tmp_path / "usb")
        assert status == 0, err
        assert sorted(path.name for path in (tmp_path / "usb").iterdir() if path.is_file()) == [
            "config.json",
            "model.safetensors",
        ]
        assert hub.load(tmp_path / "usb").config == TINY

    def test_wrong_name(self, run: Run, home: Path) -> None:
        status, _, err = run("download", "retinaface-resnet50")
        assert status == 2 and "did you mean 'retinaface_resnet50'" in err

    def test_offline(self, run: Run, home: Path) -> None:
        status, _, err = run("download", "parsing_parsenet")
        spec = hub.REGISTRY["parsing_parsenet"]
        assert status == 2 and spec.urls[0] in err and str(home / spec.filename) in err


class TestVerify:
    def test_all_that_is_here(self, run: Run, home: Path) -> None:
        status, out, _ = run("verify")
        assert status == 0 and out.count("is the published") == sum(s.embedded for s in hub.REGISTRY.values())

    def test_names(self, run: Run, home: Path, detector: hub.WeightSpec) -> None:
        run("download", DETECTOR)
        status, out, _ = run("verify", DETECTOR)
        assert status == 0 and detector.sha256 in out
        place = home / detector.filename
        place.write_bytes(place.read_bytes()[:-1])
        status, out, err = run("verify", DETECTOR, hub.DEFAULT_NAME)
        assert status == 1 and "is not the published" in err and hub.DEFAULT_NAME in out
        assert place.is_file() and not list(home.glob("*.damaged"))  # looked at, not touched
        status, _, err = run("verify", "parsing_bisenet")
        assert status == 1 and "is not in" in err

    def test_files(self, run: Run, home: Path, tmp_path: Path, detector: hub.WeightSpec) -> None:
        own = save_tiny_weights(tmp_path / "own.safetensors")
        status, out, _ = run("verify", own, tmp_path / "mirror" / detector.filename)
        assert status == 0 and "is whole, not published" in out and f"is the published '{DETECTOR}'" in out
        folder = hub.save_pretrained(tmp_path / "folder", hub.load(own))
        status, out, _ = run("verify", folder)
        assert status == 0 and out.count("(SHA-256") == 2
        own.write_bytes(own.read_bytes()[:-1])
        namesake = hub.save(tmp_path / hub.REGISTRY[hub.DEFAULT_NAME].filename, TINY, {})
        for bad, words in ((own, "damaged"), (namesake, "is called as"), (tmp_path / "none.safetensors", "no file")):
            status, _, err = run("verify", bad)
            assert status == 1 and words in err, bad

    def test_wrong_name(self, run: Run, home: Path) -> None:
        status, _, err = run("verify", "memgan-mobil-512")
        assert status == 1 and "did you mean 'memgan-mobile-512'" in err


class TestInfo:
    def test_weights(self, run: Run, home: Path, tmp_path: Path) -> None:
        metadata = {"license": "MIT", "metrics": Metrics("this test", {"PSNR": 12.5}).to_json()}
        state = build_memgan(TINY).state_dict()
        path = hub.save(tmp_path / "tiny.safetensors", TINY, state, metadata)
        status, out, _ = run("info", path, "--json")
        report = json.loads(out)
        assert status == 0 and report["metrics"] == {"PSNR": 12.5, "measured on": "this test"}
        weights = report["weights"]
        assert weights["sha256"] == hub.sha256_of(path) and weights["metadata"] == {"license": "MIT"}
        assert weights["tensors"] == len(state) and weights["numbers"] == sum(t.numel() for t in state.values())
        status, out, _ = run("info", path)
        assert status == 0 and "PSNR" in out and "this test" in out and "cost of one face of 32 px" in out
        save_file(load_file(path), path)  # the header is lost
        status, out, _ = run("info", path, "--json")
        assert status == 0 and json.loads(out) == {
            **report,
            "weights": {**weights, "sha256": hub.sha256_of(path), "megabytes": round(path.stat().st_size / 1e6, 2)},
        }
        status, out, _ = run("verify", path)
        assert status == 0 and "is whole, not published" in out and hub.sha256_of(path) in out

    def test_name_and_card(self, run: Run, home: Path) -> None:
        status, out, _ = run("info", hub.DEFAULT_NAME, "--json")
        report = json.loads(out)
        spec = hub.REGISTRY[hub.DEFAULT_NAME]
        assert status == 0 and report["weights"]["license"] == spec.license and report["metrics"]
        assert report["weights"]["card"].endswith("README.md") and report["weights"]["sha256"] == spec.sha256

    def test_detector(self, run: Run, home: Path, detector: hub.WeightSpec) -> None:
        status, out, _ = run("info", DETECTOR)
        assert status == 0 and detector.sha256 in out and detector.license in out and "configuration" not in out

    def test_wrong_name(self, run: Run, home: Path) -> None:
        status, _, err = run("info", "memgan-mobile-51")
        assert status == 2 and "did you mean 'memgan-mobile-512'" in err


class TestConvert:
    def test_name(self, run: Run, home: Path, detector: hub.WeightSpec) -> None:
        status, out, _ = run("convert", DETECTOR)
        safe = (home / detector.filename).with_suffix(".safetensors")
        assert status == 0 and str(safe) in out and load_file(safe)
        status, out, _ = run("verify", safe)
        assert status == 0 and f"converted from the published '{DETECTOR}'" in out

    def test_file(self, run: Run, tmp_path: Path) -> None:
        torch.save({"weight": torch.zeros(1)}, tmp_path / "x.pth")
        status, _, err = run("convert", tmp_path / "x.pth", "-o", tmp_path / "x.safetensors")
        assert status == 2 and "what can be converted" in err
        status, _, err = run("convert", tmp_path / "x.pth", "-o", tmp_path / "x.safetensors", "--kind", "gan")
        assert status == 2 and "allowed are retinaface" in err

    def test_what_is_no_checkpoint(self, run: Run, home: Path, tmp_path: Path) -> None:
        text = tmp_path / "README.md"
        text.write_text("# memgan\n")
        status, _, err = run("convert", text, "-o", tmp_path / "x.safetensors")
        assert status == 2 and "README.md cannot be read" in err and "it is no file of torch.save" in err
        assert "weights_only" not in err and len(err) < 300
        status, _, err = run("convert", hub.DEFAULT_NAME)
        assert status == 2 and "is published as a safetensors file" in err and DETECTOR in err


@pytest.mark.parametrize("command", ["models", "download", "verify", "info", "convert"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and f"usage: memgan {command}" in out and cli.COMMANDS[command][1:30] in out
