"""``memgan check``, and what the records of ``memgan restore`` say of number types."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, scene
from PIL import Image
from tiny import FAST_CONFIG, trained

from memgan import hub
from memgan.apps.cli import main as cli
from memgan.network.fast import FastMemGAN
from memgan.network.model import MemGANOutput
from memgan.restoration import self_check


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(self_check, "_measured", {})
    monkeypatch.setattr(self_check, "_warned", set())
    return tmp_path / "home"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return hub.save(tmp_path / "small.safetensors", FAST_CONFIG, trained().state_dict())


def has_bfloat16(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: answer, raising=False)


def returns_the_degraded_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastMemGAN, "forward", lambda self, image: MemGANOutput(image, image))


def check(weights: Path, *words: str) -> int:
    return cli.main(["check", "--weights", str(weights), "--device", "cpu", *words])


def test_what_it_prints(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(weights) == 0
    out = capsys.readouterr().out
    assert "float32" in out and f"torch {torch.__version__}" in out and "for a face" in out
    assert out.endswith("is restored right: 90 dB or more to its computed answer, at least 60 are needed.\n")


def test_json(weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    has_bfloat16(monkeypatch, True)
    assert check(weights, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["dtype"], found["device"], found["backend"], found["limit"]) == ("bfloat16", "cpu", "torch", 50)
    assert found["is_right"] and 50 < found["psnr"] < 70 and 0 < found["seconds"] < 30
    assert set(found["versions"]) == {"memgan", "torch"} and "AMX" in found["device_name"]


def test_what_is_wrong_is_status_1_and_says_what_to_do(
    weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    returns_the_degraded_face(monkeypatch)
    assert check(weights) == 1
    assert "restored wrong" in (text := capsys.readouterr().out) and "another build of torch" in text
    assert check(weights, "--dtype", "bfloat16") == 1
    assert "Use dtype='float32'" in capsys.readouterr().out
    monkeypatch.setattr(FastMemGAN, "forward", lambda self, image: MemGANOutput(image * torch.nan, image))
    assert check(weights, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["psnr"] is None and not found["is_right"] and "not finite" in found["verdict"]


def test_the_backends_version(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    import onnxruntime

    assert check(weights, "--backend", "onnx", "--threads", "1") == 0
    assert f"onnxruntime {onnxruntime.__version__}" in capsys.readouterr().out


def test_an_answer_that_is_made_is_the_one_that_is_found(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "self_check"
    folder.mkdir()
    (folder / "face.png").write_bytes((self_check._folder() / "face.png").read_bytes())
    monkeypatch.setattr(self_check, "_folder", lambda: folder)
    for number in "12":
        assert cli.main(["check", "--weights", str(weights), "--make", str(folder / f"{number}.png")]) == 0
    assert (folder / "1.png").read_bytes() == (folder / "2.png").read_bytes()
    capsys.readouterr()
    assert check(weights, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"] == "stored" and found["psnr"] > 80
    assert np.asarray(Image.open(folder / "1.png")).std() > 1


def test_the_record_says_what_was_used_and_auto_is_done_wherever_it_was(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "memgan.restoration.restorer.create_detector", lambda name, **options: FakeDetector(face_at(80, 60))
    )

    def restored(*names: str, more: tuple[str, ...] = ()) -> list[tuple[str, str]]:
        """Number type and status of each picture."""
        report = tmp_path / "report.json"
        words = [*(tmp_path / f"{name}.png" for name in names), "-o", tmp_path / "out", "--weights", weights]
        words += ["--device", "cpu", "-q", "--report", report, *more]
        assert cli.main(["restore", *map(str, words)]) == 0
        rows = json.loads(report.read_text("utf-8"))["pictures"]
        return [(row["dtype"], row["status"]) for row in rows]

    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), scene())
    has_bfloat16(monkeypatch, True)
    assert restored("a") == [("bfloat16", "restored")]
    has_bfloat16(monkeypatch, False)
    done = [("bfloat16", "existing"), ("float32", "restored")]
    assert restored("a", "b", more=("--skip-existing",)) == done
    assert restored("a", more=("--skip-existing", "--dtype", "float32")) == [("float32", "restored")]
    has_bfloat16(monkeypatch, True)
    returns_the_degraded_face(monkeypatch)
    monkeypatch.setattr(self_check, "_measured", {})
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path / "another home"))
    with pytest.warns(UserWarning, match="float32 is used here"):
        assert restored("c") == [("float32", "restored")]
