"""Runs of ``memgan restore`` one after the other, side by side and interrupted: no picture is ever lost."""

import dataclasses
import errno
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import FakeNetwork, face_at, scene
from PIL import Image

from memgan import MemGANRestorer
from memgan.apps.cli import main as cli
from memgan.apps.cli import restore as command
from memgan.apps.files import restore_files
from memgan.apps.files.restore_options import FileOptions, PartOptions
from memgan.apps.files.restore_plan import WITHOUT_EFFECT
from memgan.apps.files.restore_report import Summary
from memgan.errors import ImageError, OutputError
from memgan.image import load_picture
from memgan.image.pages import open_pages
from memgan.restoration.options import RestoreOptions
from memgan.runtime.records import FileState, Records, Row

Run = Callable[..., int]


class Faces:
    """A detector that finds as many faces as it is told."""

    count = 2

    def detect(self, image: np.ndarray) -> Any:
        return [face_at(50, 50), face_at(110, 60)][: self.count]


@pytest.fixture
def faces() -> Faces:
    return Faces()


@pytest.fixture
def restore(faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``memgan restore`` with a network that darkens faces, and which loads no weights."""
    weights = {"name": "fake", "sha256": "0"}
    made = MemGANRestorer(network=FakeNetwork(0.5), detector=faces, device="cpu")
    monkeypatch.setattr(command, "weights_of", lambda *given, **how: weights)
    monkeypatch.setattr(command, "make_restorer", lambda parts, options: made)
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> int:
        return cli.main(["restore", "-o", "out", *map(str, words)])

    return call


def save(path: str, seed: int = 0) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(cv2.imencode(Path(path).suffix.lower(), scene(seed=seed))[1].tobytes())
    return Path(path)


def results(folder: str = "out/restored_imgs") -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def rows(folder: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "records.jsonl").read_bytes().splitlines()]


# -- whose a result is -----------------------------------------------------------------------------------------------


def test_a_result_of_another_input_is_never_overwritten(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("x/a.png"), save("y/a.png", seed=1)
    assert restore("x/a.png") == 0
    before = Path("out/restored_imgs/a.png").read_bytes()
    capsys.readouterr()
    assert restore("y/a.png") == 1
    said = capsys.readouterr()
    assert "y/a.png: skipped: its result restored_imgs/a.png is there already, made of " in said.err
    assert str(Path("x/a.png").absolute()) in said.err and "--suffix" in said.err
    assert "0 faces in 0 of 1 pictures" in said.out
    assert Path("out/restored_imgs/a.png").read_bytes() == before
    assert restore("y/a.png", "--skip-existing") == 1, "the result of another input is not there already"
    assert restore("y/a.png", "--suffix", "y") == 0 and results() == ["a.png", "a_y.png"]
    Path("out/restored_imgs/a.png").unlink()
    assert restore("y/a.png", "--no-faces") == 0, "a name whose file is gone is free"


def test_a_folder_that_was_moved_keeps_its_results(restore: Run) -> None:
    save("x/a.png")
    assert restore("x") == 0
    shutil.move("x", "z")
    assert restore("z") == 0 and results() == ["a.png"]


def test_two_inputs_of_a_run_with_one_result(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("in/a.jpg"), save("in/a.jpg.png", seed=1)
    assert restore("in", "--ext", "png") == 1
    assert (
        "in/a.jpg.png: skipped: its result restored_imgs/a.jpg.png is also that of another" in capsys.readouterr().err
    )
    assert [row["status"] for row in rows()] == ["restored", "failed"]
    assert restore("in", "--suffix", "x") == 0 and results() == ["a.jpg.png", "a.jpg_x.png", "a_x.jpg"]


def test_names_that_are_one_file_on_another_file_system(
    restore: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/A.png"), save("in/a.png", seed=1)
    assert restore("in") == 0 and results() == ["A.png", "a.png"]
    shutil.rmtree("out")
    monkeypatch.setattr(command, "prepare_folder", lambda folder: folder.mkdir() or True)
    assert restore("in") == 1 and results() == ["A.png"]
    assert "in/a.png: skipped" in capsys.readouterr().err


def test_names_that_windows_does_not_take_are_refused_before_the_work(
    restore: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("memgan.apps.files.restore_plan.name_problem", lambda path: "Windows reserves the name")
    save("in/con.png")
    assert restore("in") == 1 and "Windows reserves" in capsys.readouterr().err and not Path("out/cmp").exists()


def test_a_second_run_removes_faces_that_are_no_more(restore: Run, faces: Faces) -> None:
    save("in/a.png"), save("in/b.png")
    assert restore("in") == 0 and len(results("out/cmp")) == 4
    Path("out/cmp/a.png_01.png").write_bytes(b"edited by hand")
    faces.count = 1
    assert restore("in/a.png") == 0
    assert results("out/restored_faces") == ["a.png_00.png", "b.png_00.png", "b.png_01.png"]
    assert results("out/cmp") == ["a.png_00.png", "a.png_01.png", "b.png_00.png", "b.png_01.png"], "edited ones stay"


# -- what is there already -------------------------------------------------------------------------------------------


def test_what_was_done_is_known_by_the_record_alone(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    picture = save("in/a.png")

    def skips(*words: object) -> bool:
        capsys.readouterr()
        assert restore("in", "--skip-existing", *words) == 0
        return "1 were there already" in capsys.readouterr().out

    assert not skips() and skips() and skips("--jobs", 2, "--threads", 1, "--report", "r.json")
    assert not skips("-w", "0.5") and not skips(), "other options have written over it"
    Path("out/cmp/a.png_01.png").write_bytes(b"")
    assert not skips() and skips()
    os.utime(picture, ns=(1, 1))
    assert not skips() and skips()
    save("in/a.png", seed=1), os.utime(picture, ns=(1, 1))
    assert not skips(), "another size"


def test_only_options_of_the_work_itself_are_without_effect() -> None:
    known = {field.name for kind in (FileOptions, RestoreOptions, PartOptions) for field in dataclasses.fields(kind)}
    assert known >= WITHOUT_EFFECT
    shaping = {"weight", "upscale", "grain", "detector", "ext", "suffix", "quality", "provenance", "pages", "dtype"}
    assert known >= shaping and not shaping & WITHOUT_EFFECT


def test_results_without_a_record_are_said_once(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("in/a.png"), save("in/b.png")
    assert restore("in") == 0
    Path("out/records.jsonl").unlink()
    capsys.readouterr()
    assert restore("in", "--skip-existing") == 0
    said = capsys.readouterr()
    assert said.err.count("without a record") == 1 and "made them again: 2\n" in said.err
    assert "4 faces in 2 of 2" in said.out


# -- what did not change ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp"])
def test_a_picture_without_faces_is_copied(
    restore: Run, faces: Faces, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    faces.count = 0
    Path("in").mkdir()
    Image.fromarray(scene()).save(f"in/{name}", quality=60)
    assert restore("in") == 0
    assert Path("out/restored_imgs", name).read_bytes() == Path("in", name).read_bytes()
    assert "0 faces in 0 of 1 pictures restored; 1 left as they were" in capsys.readouterr().out
    assert rows()[0]["status"] == "unchanged"


def test_faces_that_stay_as_they_are_are_not_counted_as_restored() -> None:
    summary, state = Summary(), FileState("a.jpg", 1, 1)
    summary.add(Row(input=state, status="restored", faces=[{"strength": 0.0}, {"strength": 0.3}]))
    summary.add(Row(input=state, status="unchanged", faces=[{"strength": 0.0}]))
    assert summary.line(2, Path("out")) == "1 face in 1 of 2 pictures restored; 1 left as they were; see out"


def test_a_copy_lacks_nothing_of_what_reading_drops(
    restore: Run, faces: Faces, capsys: pytest.CaptureFixture[str]
) -> None:
    faces.count = 0
    Path("in").mkdir()
    Image.fromarray(scene()).save("in/a.jpg", exif=b"Exif\0\0no notes at all")
    assert restore("in") == 0
    assert rows()[0]["notes"][1:] == ["nothing changed: the result is a copy of the file as it is"]
    assert "dropped" in rows()[0]["notes"][0] and "a copy of the file as it is" in capsys.readouterr().err
    assert Path("out/restored_imgs/a.jpg").read_bytes() == Path("in/a.jpg").read_bytes()


def test_a_picture_without_faces_is_written_as_asked(restore: Run, faces: Faces) -> None:
    faces.count = 0
    picture = save("in/a.jpg")
    for words, name in ((("-s", "2"), "a.jpg"), (("--ext", "png"), "a.jpg.png"), (("--quality", "30"), "a.jpg")):
        assert restore("in", *words) == 0
        assert Path("out/restored_imgs", name).read_bytes() != picture.read_bytes()
    assert load_picture("out/restored_imgs/a.jpg.png").rgb.shape == load_picture(picture).rgb.shape


# -- what cannot be written ------------------------------------------------------------------------------------------


def test_one_result_that_cannot_be_written_costs_no_other(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 251 + ".png"
    for name in ("a.png", "b.png", long, "z.png"):
        save(f"in/{name}")
    Path("out/restored_imgs/b.png").mkdir(parents=True)
    assert restore("in", "--suffix", "s", "--report", "r.json") == 1
    assert restore("in") == 1
    said = capsys.readouterr()
    assert f"in/{long}: skipped: " in said.err and "in/b.png: skipped: " in said.err and "is a folder" in said.err
    assert "3 of 4 pictures restored; 1 failed" in said.out
    assert {"a.png", "z.png", "a_s.png", "b_s.png", "z_s.png"} <= set(results())
    pictures = json.loads(Path("r.json").read_text())["pictures"]
    assert [row["status"] for row in pictures] == ["restored", "restored", "failed", "restored"]
    assert not [name for name in results("out") if name.endswith(".tmp")]


def test_a_report_that_is_a_folder_is_refused_before_the_work(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("in/a.png")
    assert restore("in", "--report", "in") == 2
    assert "--report is in" in capsys.readouterr().err and not Path("out").exists()


@pytest.mark.parametrize("name", ["in/a.png", "out/records.jsonl", "out/restored_imgs/a.png", "out/cmp/r.json", "pipe"])
def test_a_report_never_replaces_anything_but_a_report(
    restore: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png")
    assert restore("in", "--report", "r.json") == restore("in", "--report", "r.json") == 0
    if name == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("Windows has no such files")
    if name == "pipe":
        os.mkfifo(name)
    kept = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capsys.readouterr()
    assert restore("in", "--report", name) == 2
    assert f"memgan: error: --report is {name}, which " in capsys.readouterr().err
    assert kept == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert name != "pipe" or Path(name).is_fifo()


@pytest.mark.parametrize("words", [["", "in"], ["in", "-i", ""], ["in", "--report", ""], ["in", "-o", ""]])
def test_an_empty_path_is_not_the_current_folder(
    restore: Run, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png")
    with pytest.raises(SystemExit) as ended:
        restore(*words)
    assert ended.value.code == 2 and "it is empty; give a path" in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_animation_that_cannot_say_that_it_is_restored(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(2)]
    frames[0].save("in/a.gif", save_all=True, append_images=frames[1:])
    assert restore("in") == 0
    assert "in/a.gif: GIF holds no XMP: the file does not say that faces were restored" in capsys.readouterr().err
    assert restore("in", "--no-provenance") == 0 and "XMP" not in capsys.readouterr().err


def test_a_report_on_a_full_disk_loses_no_work(
    restore: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if self.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    save("in/a.png")
    monkeypatch.setattr("memgan.apps.files.restore_report.open", lambda *_, **__: Full(), raising=False)
    assert restore("in", "--report", "r.json") == 1 and results() == ["a.png"]
    assert "memgan: the report r.json cannot be written (No space left on device)" in capsys.readouterr().err
    assert not Path("r.json").exists()


def test_a_record_that_cannot_be_read_or_written(
    restore: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png")
    Path("out/records.jsonl").mkdir(parents=True)
    assert restore("in") == 2 and "records.jsonl cannot be read" in capsys.readouterr().err
    Path("out/records.jsonl").rmdir()

    def full(self: Records, row: Row) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(Records, "append", full)
    assert restore("in") == 1 and results() == ["a.png"]
    assert "a.png: not recorded: the disk is full" in capsys.readouterr().err


# -- signals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Raise a signal when a file is opened."""

    def at(name: str, number: int) -> None:
        real = restore_files.open_pages

        def opened(path: Path, **how: Any) -> Any:
            if path.name == name:
                signal.raise_signal(number)
            return real(path, **how)

        monkeypatch.setattr(restore_files, "open_pages", opened)

    return at


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_lets_the_work_in_hand_end(
    restore: Run, interrupt: Callable[[str, int], None], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in "abc":
        save(f"in/{one}.png")
    number = getattr(signal, name)
    interrupt("b.png", number)
    assert restore("in", "--report", "r.json") == 128 + number
    said = capsys.readouterr()
    assert f"interrupted by {name}" in said.err and "4 faces in 2 of 3 pictures" in said.out
    assert results() == ["a.png", "b.png"] and len(rows()) == 2
    assert [Path(row["input"]["path"]).name for row in json.loads(Path("r.json").read_text())["pictures"]] == [
        "a.png",
        "b.png",
    ]


def test_a_signal_while_the_weights_are_loaded_ends_at_once(
    restore: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png")
    monkeypatch.setattr(command, "make_restorer", lambda parts, options: signal.raise_signal(signal.SIGTERM))
    assert restore("in", "--report", "r.json") == 128 + signal.SIGTERM
    assert json.loads(Path("r.json").read_text())["pictures"] == [] and not Path("out/records.jsonl").exists()


# -- pages -----------------------------------------------------------------------------------------------------------


def save_pages(path: str, count: int = 3) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.fromarray(scene(seed=seed)) for seed in range(count))
    first.save(path, save_all=True, append_images=others)
    return Path(path)


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.webp", "a.png"])
def test_all_pages_become_one_file_of_the_same_type(restore: Run, faces: Faces, name: str) -> None:
    source = save_pages(f"in/{name}")
    assert restore("in") == 0 and results() == [name]
    before, after = (list(open_pages(path)) for path in (source, f"out/restored_imgs/{name}"))
    assert len(after) == 3
    for old, new in zip(before, after, strict=True):
        assert old.rgb.shape == new.rgb.shape and (old.rgb != new.rgb).any()
    expected = [f"{name}_p000{page}_0{face}.png" for page in (1, 2, 3) for face in (0, 1)]
    assert results("out/restored_faces") == expected
    (row,) = rows()
    assert row["output"] == f"restored_imgs/{name}" and len(row["outputs"]) == 19 and len(row["faces"]) == 6
    assert restore("in", "--skip-existing") == 0 and len(rows()) == 1


def test_pages_without_faces_are_copied(restore: Run, faces: Faces) -> None:
    faces.count = 0
    source = save_pages("in/a.tif")
    assert restore("in") == 0
    assert Path("out/restored_imgs/a.tif").read_bytes() == source.read_bytes() and results() == ["a.tif"]


def test_pages_of_a_type_that_holds_one_become_files(restore: Run) -> None:
    save_pages("in/a.tif")
    assert restore("in", "--ext", "jpg", "--no-faces", "--suffix", "x") == 0
    assert results() == [f"a_p000{page}_x.tif.jpg" for page in (1, 2, 3)]


@pytest.mark.parametrize(("pages", "count"), [("first", 1), ("2:3", 2), ("2:", 2), (":9", 3), ("3:3", 1)])
def test_some_pages(restore: Run, pages: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    save_pages("in/a.tif"), save("in/b.tif")
    assert restore("in/a.tif", "--pages", pages) == 0
    assert len(list(open_pages("out/restored_imgs/a.tif"))) == count
    assert ("of its 3 pages" in capsys.readouterr().err) == (count < 3)


def test_pages_that_are_not_there(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save_pages("in/a.tif")
    assert restore("in", "--pages", "5:6") == 1 and "has 3 pages" in capsys.readouterr().err
    for pages in ("0:1", "3:2", "x", "1", "1:2:3"):
        assert restore("in", "--pages", pages) == 2 and "--pages" in capsys.readouterr().err


def test_a_page_that_fails_leaves_no_part(restore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pages("in/a.tif"), save("in/b.tif")

    class Broken:
        timing = None

        def __init__(self, path: Path, **how: Any) -> None:
            self._pages = open_pages(path)

        def __len__(self) -> int:
            return len(self._pages)

        def __iter__(self) -> Iterator[Any]:
            for number, page in enumerate(self._pages):
                if number == 1:
                    raise ImageError("page 2 is damaged")
                yield page

    monkeypatch.setattr(restore_files, "open_pages", Broken)
    assert restore("in", "--no-faces") == 1
    assert results("out") == [".records.jsonl.lock", "records.jsonl", "restored_imgs/b.tif"]
    assert [row["reason"] for row in rows()] == ["page 2 is damaged", None]


def test_a_signal_between_pages_leaves_no_part(restore: Run, faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pages("in/a.tif"), save("in/b.tif")
    detect = Faces.detect
    monkeypatch.setattr(Faces, "detect", lambda self, image: signal.raise_signal(signal.SIGTERM) or detect(self, image))
    assert restore("in", "--no-faces") == 128 + signal.SIGTERM
    assert [name for name in results("out") if not name.startswith(".records")] == []


# -- what would be done ----------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in/a.png", "in/b.jpg", "in/.hidden.png", "in/sub/c.png"):
        save(name)
    Path("in/n.txt").write_text("x")
    words = ("in", "missing.png", "-r", "--ext", "png", "--skip-existing", "--dry-run")
    assert restore(*words) == 1 and not Path("out").exists()
    assert capsys.readouterr().out.splitlines() == [
        "in/.hidden.png: left out: hidden, or of a file manager",
        "in/a.png -> out/restored_imgs/a.png",
        "in/b.jpg -> out/restored_imgs/b.jpg.png",
        "in/n.txt: left out: file of another type",
        "in/sub/c.png -> out/restored_imgs/sub/c.png",
        "missing.png: left out: does not exist; check the path",
    ]
    assert restore("in", "-r", "--ext", "png") == 0
    capsys.readouterr()
    assert restore("in", "-r", "--ext", "png", "--skip-existing", "--dry-run") == 0
    assert "in/a.png: left out: there already" in capsys.readouterr().out


def test_names_cannot_give_orders_to_the_terminal(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    try:
        Path("in/a\n\x1b[2Jb.png").write_bytes(b"no picture")
    except OSError:
        pytest.skip("this system has no such names")
    assert restore("in", "--dry-run") == 0
    assert capsys.readouterr().out == "in/a\\n\\x1b[2Jb.png -> out/restored_imgs/a\\n\\x1b[2Jb.png\n"
    assert restore("in") == 1
    said = capsys.readouterr().err
    assert said.startswith("memgan: in/a\\n\\x1b[2Jb.png: skipped: ") and "\x1b" not in said
