"""``memgan restore --reliability``: maps beside the faces, figures in the record, and what happens to them later."""

import json
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from fakes import FakeDetector, face_at, scene
from PIL import Image
from tiny import register_small

from memgan import MemGANRestorer, draw_heat_map, hub
from memgan.apps.cli.main import main
from memgan.apps.files.names import map_name, page_mark
from memgan.evaluation.metrics.regions import region_mask

FACES = face_at(50, 60, 60), face_at(115, 60, 44)
Run = Callable[..., int]


@pytest.fixture
def found() -> FakeDetector:
    return FakeDetector(*FACES)


@pytest.fixture
def restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: FakeDetector) -> Run:
    """``memgan restore`` of a picture with two faces by tiny weights that have an estimator."""
    register_small(tmp_path / "home", monkeypatch)
    monkeypatch.setattr("memgan.restoration.restorer.create_detector", lambda *_, **__: found)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene()).save("a.png")

    def call(*words: object, source: str = "a.png", weights: str = "small") -> int:
        options = ("--weights", weights, "--dtype", "float32", "-q", *words)
        return main(["restore", source, "-o", "out", *map(str, options)])

    return call


def results(folder: str = "restored_faces") -> list[str]:
    return sorted(path.name for path in Path("out", folder).iterdir())


def last_row() -> dict[str, Any]:
    row: dict[str, Any] = json.loads(Path("out/records.jsonl").read_bytes().splitlines()[-1])
    return row


def figures(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = "expected_error", "reliability", "expected_identity_distance"
    return [tuple(face[name] for name in names) for face in row["faces"]]


def test_maps_lie_beside_the_faces_and_figures_in_record_and_report(restore: Run) -> None:
    assert restore("--reliability", "--fidelity", "0.5", "--report", "report.json") == 0
    assert results() == ["a.png_00.png", "a.png_00_map.png", "a.png_01.png", "a.png_01_map.png"]
    assert results("cropped_faces") == results("cmp") == ["a.png_00.png", "a.png_01.png"]
    own = MemGANRestorer(
        "small", upscale=1, detector=FakeDetector(*FACES), dtype="float32", device="cpu", color="rgb", fidelity=0.5
    )
    faces = own.restore(scene(), reliability=True).faces
    row = last_row()
    assert json.loads(Path("report.json").read_text())["pictures"] == [row]
    assert {one["path"] for one in row["outputs"]} >= {f"restored_faces/a.png_0{index}_map.png" for index in (0, 1)}
    inside = region_mask("face", 32, 32).numpy()
    for index, (face, told) in enumerate(zip(faces, figures(row), strict=True)):
        drawn = np.array(Image.open(f"out/restored_faces/a.png_0{index}_map.png"))
        np.testing.assert_array_equal(drawn, draw_heat_map(face))
        error, sure, distance = face.expected_error, face.reliability, face.expected_identity_distance
        assert error is not None
        assert told[0]["mean"] == pytest.approx(error[inside].mean(), abs=0.006)
        assert told[0]["largest"] == pytest.approx(error[inside].max(), abs=0.006)
        assert told[1:] == (pytest.approx(sure, abs=1e-4), pytest.approx(distance, abs=1e-4))
    assert row["weights"]["reliability"] == "small-reliability"
    assert row["weights"]["reliability_sha256"] == hub.REGISTRY["small-reliability"].sha256


def test_without_it_there_are_none(restore: Run) -> None:
    assert restore() == 0
    assert results() == ["a.png_00.png", "a.png_01.png"]
    assert figures(last_row()) == [(None, None, None)] * 2 and "reliability" not in last_row()["weights"]


def test_maps_say_no_more_than_the_files_of_faces(restore: Run) -> None:
    """No place, camera or note of the photograph."""
    exif = Image.Exif()
    exif[270] = "a secret"
    Image.fromarray(scene()).save("a.png", exif=exif)
    assert restore("--reliability") == 0
    face, drawn = (Image.open(f"out/restored_faces/a.png_00{end}.png") for end in ("", "_map"))
    assert drawn.info == face.info and "exif" not in drawn.info
    assert b"secret" not in Path("out/restored_faces/a.png_00_map.png").read_bytes()


def test_without_files_of_faces_the_record_has_the_figures(restore: Run) -> None:
    assert restore("--reliability", "--no-faces") == 0
    assert not Path("out/restored_faces").exists()
    assert all(told[0]["mean"] > 0 for told in figures(last_row()))


def test_a_sharp_face_has_no_map(restore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sharp = iter([1.0, 0.0])
    monkeypatch.setattr("memgan.restoration.pipeline.sharpness", lambda crop: next(sharp))
    assert restore("--reliability") == 0
    assert results() == ["a.png_00.png", "a.png_01.png", "a.png_01_map.png"]
    assert figures(last_row())[0] == (None, None, None)


# -- later runs ----------------------------------------------------------------------------------------------------


def test_what_lacks_its_maps_is_not_there_already(restore: Run) -> None:
    def status(*words: str) -> str:
        assert restore("--skip-existing", "--report", "report.json", *words) == 0
        told: str = json.loads(Path("report.json").read_text())["pictures"][0]["status"]
        return told

    assert status() == "restored" and status() == "existing"
    assert status("--reliability") == "restored" and status("--reliability") == "existing"
    Path("out/restored_faces/a.png_01_map.png").unlink()
    assert status("--reliability") == "restored" and len(results()) == 4


def test_maps_of_an_earlier_run_do_not_outlive_its_pictures(restore: Run, found: FakeDetector) -> None:
    """They speak of other pictures than those that lie there now; what somebody has edited stays."""
    assert restore("--reliability") == 0 and len(results()) == 4
    Path("out/restored_faces/a.png_01_map.png").write_bytes(b"edited by hand")
    assert restore("-w", "0.5") == 0
    assert results() == ["a.png_00.png", "a.png_01.png", "a.png_01_map.png"]
    Path("out/restored_faces/a.png_01_map.png").unlink()
    assert restore("--reliability") == 0
    found.faces = [FACES[0]]
    assert restore("--reliability") == 0
    assert results() == ["a.png_00.png", "a.png_00_map.png"]
    assert restore("--reliability", "--face-index", "7") == 1 and results() == []


def test_aligned_faces(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    for name in ("a.png", "a.png_map.png"):
        Image.fromarray(scene(32, 32)).save(f"in/{name}")
    assert restore("--reliability", "--aligned", source="in/a.png") == 0
    assert results() == ["a.png", "a.png_map.png"] and figures(last_row())[0][0]["mean"] > 0
    before = Path("out/restored_faces/a.png_map.png").read_bytes()
    assert restore("--reliability", "--aligned", source="in/a.png_map.png") == 1  # a face whose place a map has
    assert "restored_faces/a.png_map.png is there already, made of" in capsys.readouterr().err
    assert Path("out/restored_faces/a.png_map.png").read_bytes() == before
    assert restore("--aligned", source="in/a.png") == 0 and results() == ["a.png"]


def test_names_of_maps() -> None:
    path = PurePath("d/a.jpg")
    assert map_name(path, 0) == PurePath("restored_faces/d/a.jpg_00_map.png")
    assert map_name(path, 12, page_mark(3), "_new") == PurePath("restored_faces/d/a.jpg_p0003_12_map_new.png")
    assert map_name(path, None) == PurePath("restored_faces/d/a.jpg_map.png")


# -- weights without an estimator ----------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("words", "problem"),
    [(("--reliability",), "no weights that estimate its errors"), (("--fidelity", "0.5"), "no second set of weights")],
)
def test_it_is_refused_before_the_work(
    restore: Run, words: tuple[str, ...], more: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(*words, *more, weights="home/small.safetensors") == 2
    said = capsys.readouterr()
    assert problem in said.err and "`memgan models`" in said.err and said.out == ""


def test_a_dry_run_knows_what_is_there(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore("--reliability", "--dry-run") == 0 and not Path("out").exists()
    assert restore("--reliability") == 0
    capsys.readouterr()
    assert restore("--reliability", "--skip-existing", "--dry-run") == 0
    assert "a.png: left out: there already" in capsys.readouterr().out
    assert restore("--skip-existing", "--dry-run") == 0
    assert "a.png -> out/restored_imgs/a.png" in capsys.readouterr().out
