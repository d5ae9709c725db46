"""``memgan restore`` with films among its inputs; a stand-in restores them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.apps.cli import main as cli
from memgan.apps.cli import restore as command
from memgan.apps.files import restore_files, restore_films
from memgan.apps.files.restore_report import Summary
from memgan.errors import ConfigError, FilmError, OutputError
from memgan.restoration.options import RestoreOptions
from memgan.runtime import progress as progress_module
from memgan.runtime.records import FileState, Records, Row
from memgan.video.film_work import FilmProgress, FilmResult
from memgan.video.options import VideoOptions

Run = Callable[..., int]
TRACK = {"number": 0, "frames": [0, 9], "strength": 1.0}


class FakeVideo:
    """Makes of each film its content in capitals, says what it was asked for, and fails where a name says so."""

    calls: list[tuple[str, str, RestoreOptions]]
    result: dict[str, Any]
    failure: Exception | None
    signal_at: int | None
    options: VideoOptions | None
    provenance: bool

    def __init__(self, restorer: MemGANRestorer, options: VideoOptions | None = None) -> None:
        type(self).options = options

    @staticmethod
    def begun() -> None:
        """Called when a film is begun."""

    def plan(self, path: Path, output: Path, *, options: RestoreOptions) -> list[str]:
        self.calls.append(("plan", Path(path).name, options))
        if "picture" in Path(path).name:
            raise FilmError(f"{path} is a picture, whatever its name says; give it the suffix of one")
        if "subtitled" in Path(path).name:
            raise ConfigError("subtitles of this kind have no place in .mp4; use --container mkv")
        return ["a note on what is written"]

    def restore(
        self,
        path: Path,
        output: Path,
        *,
        options: RestoreOptions,
        provenance: bool,
        progress: Callable[[FilmProgress], None],
        stops: Callable[[], bool],
    ) -> FilmResult:
        self.calls.append(("restore", Path(path).name, options))
        type(self).provenance = provenance
        self.begun()
        for done in range(11):
            progress(FilmProgress("restoring", done, 10))
            if done == self.signal_at:
                signal.raise_signal(signal.SIGTERM)
            if stops():
                return FilmResult(done, [], [], [], [], changed=False, is_complete=False)
        if self.failure is not None:
            raise self.failure
        Path(output).write_bytes(Path(path).read_bytes().upper())
        made: dict[str, Any] = {
            "num_frames": 10,
            "tracks": [TRACK],
            "left_alone": [{"reason": "too small"}],
            "notes": [],
            "problems": [],
            "changed": True,
            "is_complete": True,
        }
        return FilmResult(**{**made, **self.result})


@pytest.fixture
def video(monkeypatch: pytest.MonkeyPatch) -> type[FakeVideo]:
    FakeVideo.calls, FakeVideo.result, FakeVideo.failure, FakeVideo.signal_at = [], {}, None, None
    monkeypatch.setattr(restore_films, "VideoRestorer", FakeVideo)
    monkeypatch.setattr("memgan.video.is_available", lambda: True)
    return FakeVideo


@pytest.fixture
def restore(video: type[FakeVideo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``memgan restore`` with a network that darkens faces, and which loads no weights."""
    weights = {"name": "fake", "sha256": "0"}
    made = MemGANRestorer(network=FakeNetwork(0.5), detector=FakeDetector(face_at(50, 50)), device="cpu")
    monkeypatch.setattr(command, "weights_of", lambda *given, **how: weights)
    monkeypatch.setattr(command, "make_restorer", lambda parts, options: made)
    monkeypatch.chdir(tmp_path)
    return lambda *words: cli.main(["restore", "-o", "out", *map(str, words)])


def save(*names: str) -> Path:
    """Pictures, and files that only the stand-in takes for films."""
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = cv2.imencode(".png", scene())[1].tobytes() if path.suffix == ".png" else b"a film"
        path.write_bytes(data)
    return Path(names[0])


def results() -> list[str]:
    found = (path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file())
    return sorted(name for name in found if "records.jsonl" not in name)


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out/records.jsonl").read_bytes().splitlines()]


# -- mixed folders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_films_and_pictures_of_a_folder_are_done_in_one_go(
    restore: Run, video: type[FakeVideo], jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png", "in/b.mp4", "in/c.png", "in/sub/d.MOV", "in/notes.txt")
    assert restore("in", "-r", "--no-faces", "--report", "r.json", "-j", jobs) == 0
    assert results() == [
        "restored_imgs/a.png",
        "restored_imgs/c.png",
        "restored_videos/b.mp4",
        "restored_videos/sub/d.MOV",
    ]
    assert Path("out/restored_videos/b.mp4").read_bytes() == b"A FILM"
    said = capsys.readouterr()
    assert "2 faces in 2 of 2 pictures, 2 films restored; see out" in said.out
    assert "notes.txt" not in said.err and "in/b.mp4: a note on what is written" in said.err
    names = [Path(row["input"]["path"]).name for row in json.loads(Path("r.json").read_text())["pictures"]]
    assert names == ["a.png", "c.png", "b.mp4", "d.MOV"]
    film = rows()[2]
    assert film["status"] == "restored" and film["reason"] is None and film["faces"] == []
    assert film["film"] == {"frames": 10, "tracks": [TRACK], "problems": []}
    assert film["left_alone"] == [{"reason": "too small"}] and film["notes"] == ["a note on what is written"]
    assert film["output"] == "restored_videos/b.mp4" and film["outputs"] == [{"path": film["output"], "size": 6}]
    assert (film["weights"], film["device"], film["dtype"]) == ({"name": "fake", "sha256": "0"}, "cpu", "float32")
    assert film["seconds"] >= 0 and film["run"] == rows()[0]["run"] and film["options"] != rows()[0]["options"]
    assert rows()[0]["film"] is None


def test_all_films_are_looked_at_before_the_work(restore: Run, video: type[FakeVideo]) -> None:
    save("in/a.mp4", "in/b.mkv", "in/c.avi")
    assert restore("in") == 0
    assert [(what, name) for what, name, _ in video.calls] == [
        *(("plan", name) for name in ("a.mp4", "b.mkv", "c.avi")),
        *(("restore", name) for name in ("a.mp4", "b.mkv", "c.avi")),
    ]


def test_films_have_all_cores_while_pictures_share_them(
    restore: Run, video: type[FakeVideo], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = torch.get_num_threads(), dict[str, int]()
    monkeypatch.setattr("memgan.apps.files.jobs.usable_cores", lambda: 4)
    real = restore_files.open_pages

    def opened(path: Path, **how: Any) -> Any:
        seen["picture"] = torch.get_num_threads()
        return real(path, **how)

    monkeypatch.setattr(restore_files, "open_pages", opened)
    monkeypatch.setattr(video, "begun", staticmethod(lambda: seen.update(film=torch.get_num_threads())))
    save("in/a.png", "in/b.png", "in/c.mp4")
    torch.set_num_threads(4)
    try:
        assert restore("in", "-j", 2) == 0
    finally:
        torch.set_num_threads(before)
    assert seen == {"picture": 2, "film": 4}


def test_options_reach_the_films(restore: Run, video: type[FakeVideo]) -> None:
    save("in/a.mp4")
    words = "--video-codec hevc --video-encoder libx265 --crf 12.5 --preset fast --container mkv --frames 5: --every 3"
    more = "--upscale 2 -w 0=0.3,2=1 --fidelity 0.5 --face-index 0,2 --min-face-size 40 --suffix new"
    assert restore("in", *words.split(), *more.split(), "--ext", "jpg", "--quality", "3", "--pages", "first") == 0
    assert results() == ["restored_videos/a_new.mp4.mkv"]
    assert video.options == VideoOptions("hevc", "libx265", 12.5, "fast", "mkv", "5:", every=3)
    expected = RestoreOptions(
        upscale=2,
        weight={0: 0.3, 2: 1},
        fidelity=0.5,
        face_index=(0, 2),
        min_face_size=40,  # type: ignore[arg-type]
    )
    assert video.calls[-1][2] == expected and video.provenance
    assert restore("in", "--no-provenance") == 0 and not video.provenance


def test_nothing_is_estimated_of_films(restore: Run, video: type[FakeVideo]) -> None:
    save("in/a.mp4")
    assert restore("in", "--reliability") == 0
    assert not video.calls[-1][2].reliability and "--reliability is for pictures" in rows()[0]["notes"][0]


@pytest.mark.parametrize("words", ["--crf -1", "--frames 9:3", "--every 0"])
def test_options_of_films_that_cannot_be_met(restore: Run, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    save("in/a.mp4")
    assert restore("in", *words.split()) == 2
    assert words.split()[0].lstrip("-") in capsys.readouterr().err and not Path("out").exists()


# -- what is done already --------------------------------------------------------------------------------------------


def test_each_kind_depends_on_its_own_options(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("in/a.png", "in/b.mp4")
    assert restore("in") == 0

    def skipped(*words: str) -> set[str]:
        before = len(rows())
        assert restore("in", "--skip-existing", *words) == 0
        return {"a.png", "b.mp4"} - {Path(row["input"]["path"]).name for row in rows()[before:]}

    assert skipped() == {"a.png", "b.mp4"}
    assert "2 were there already" in capsys.readouterr().out
    assert skipped("--crf", "9") == {"a.png"} and skipped("--crf", "9") == {"a.png", "b.mp4"}
    assert skipped("--crf", "9", "--quality", "50") == {"b.mp4"}
    assert skipped("--quality", "50", "-w", "0.5") == set()


def test_a_film_that_is_done_is_not_even_opened(restore: Run, video: type[FakeVideo]) -> None:
    save("in/b.mp4")
    assert restore("in") == 0
    video.calls.clear()
    assert restore("in", "--skip-existing") == 0 and video.calls == []


def test_the_date_of_a_film_is_kept(restore: Run) -> None:
    os.utime(save("in/b.mp4"), ns=(1_000_000_000, 1_000_000_000))
    assert restore("in", "--keep-date") == 0
    assert Path("out/restored_videos/b.mp4").stat().st_mtime_ns == 1_000_000_000


def test_a_result_of_another_film_is_never_overwritten(restore: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("x/a.mp4", "y/a.mp4")
    assert restore("x/a.mp4") == 0 and restore("y/a.mp4") == 1
    assert "y/a.mp4: skipped: its result restored_videos/a.mp4 is there already, made of " in capsys.readouterr().err


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_film_that_cannot_be_done_is_said_before_the_work_and_costs_no_other(
    restore: Run, video: type[FakeVideo], capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png", "in/b.mp4", "in/picture.mp4", "in/subtitled.mp4")
    assert restore("in", "--no-faces") == 1
    assert results() == ["restored_imgs/a.png", "restored_videos/b.mp4"]
    said = capsys.readouterr()
    assert "in/picture.mp4: skipped: in/picture.mp4 is a picture" in said.err
    assert "in/subtitled.mp4: skipped: subtitles of this kind" in said.err and "--container mkv" in said.err
    assert "1 face in 1 of 1 pictures, 1 of 3 films restored; 2 failed" in said.out
    assert [row["status"] for row in rows()] == ["failed", "failed", "restored", "restored"]


def test_a_damaged_film_is_kept_said_and_gives_status_1(
    restore: Run, video: type[FakeVideo], capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/b.mp4")
    video.result = {"problems": ["the file is cut off after frame 10"]}
    assert restore("in", "--quiet") == 1
    said = capsys.readouterr()
    assert said.err == "memgan: in/b.mp4: the file is cut off after frame 10\n" and said.out == ""
    assert results() == ["restored_videos/b.mp4"]
    assert rows()[0]["status"] == "restored" and rows()[0]["film"]["problems"] == video.result["problems"]
    assert restore("in", "--skip-existing") == 0, "it was said, and nothing is to be done"


def test_a_full_disk_costs_the_film_in_hand_only(
    restore: Run, video: type[FakeVideo], capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png", "in/b.mp4")
    video.failure = OutputError("the disk is full; make room, and the same command continues")
    assert restore("in", "--no-faces") == 1 and results() == ["restored_imgs/a.png"]
    assert "in/b.mp4: skipped: the disk is full" in capsys.readouterr().err and rows()[1]["status"] == "failed"


def test_a_record_that_cannot_be_written_is_said(
    restore: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Records, row: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(Records, "append", full)
    save("in/b.mp4")
    assert restore("in") == 1 and results() == ["restored_videos/b.mp4"]
    assert "b.mp4: not recorded: the disk is full" in capsys.readouterr().err


def test_a_film_in_which_nothing_changes(
    restore: Run, video: type[FakeVideo], capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/b.mp4")
    video.result = {"changed": False, "tracks": []}
    assert restore("in") == 0
    assert (
        rows()[-1]["status"] == "unchanged" and "0 of 1 film restored; 1 left as they were" in capsys.readouterr().out
    )
    assert restore("in", "--face-index", "7") == 1
    assert rows()[-1]["status"] == "no such face" and "b.mp4: there is no face of number 7" in capsys.readouterr().err


def test_a_film_is_no_aligned_face(restore: Run, video: type[FakeVideo], capsys: pytest.CaptureFixture[str]) -> None:
    save("in/a.png", "in/b.mp4")
    assert restore("in", "--aligned") == 1
    assert "in/b.mp4: skipped: it is a film, and --aligned takes pictures of faces" in capsys.readouterr().err
    assert "restored_faces/a.png" in results() and video.calls == []


# -- where nothing reads films ---------------------------------------------------------------------------------------


def test_without_the_extra_films_are_left_out_with_the_remedy(
    restore: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("memgan.video.is_available", lambda: False)
    save("in/a.png", "in/b.mp4", "films/c.mkv", "named.mp4")
    remedy = "film, for which `pip install 'memgan[video]'` is needed"
    assert restore("in") == 0, "a folder of photographs has films among them, too"
    assert f"memgan: left out: {remedy}: 1; --dry-run lists them" in capsys.readouterr().err
    assert restore("named.mp4") == 1
    assert f"memgan: named.mp4: {remedy}" in capsys.readouterr().err
    assert restore("in", "in/b.mp4", "--dry-run") == 1, "a film that is named is missed, although its folder is given"
    assert f"in/b.mp4: left out: {remedy}" in capsys.readouterr().out
    assert restore("films") == 1
    said = capsys.readouterr().err
    assert "films: no pictures" in said and remedy in said


# -- signals ---------------------------------------------------------------------------------------------------------


def test_a_signal_stops_a_film_after_its_frame_and_leaves_no_result(
    restore: Run, video: type[FakeVideo], capfd: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png", "in/b.mp4", "in/c.mp4")
    video.signal_at = 3
    assert restore("in", "--no-faces", "--report", "r.json") == 128 + signal.SIGTERM
    assert results() == ["restored_imgs/a.png"]
    said = capfd.readouterr()
    assert (
        "SIGTERM: the pictures in hand are finished, a film stops after the frame in hand; a second signal" in said.err
    )
    assert "in/b.mp4: stopped by a signal; the same command continues after the last part" in said.err
    assert "interrupted by SIGTERM" in said.err and "0 of 2 films restored; 1 interrupted" in said.out
    assert [row["status"] for row in json.loads(Path("r.json").read_text())["pictures"]] == ["restored", "interrupted"]
    assert [name for what, name, _ in video.calls if what == "restore"] == ["b.mp4"]
    video.signal_at = None
    assert restore("in", "--no-faces", "--skip-existing") == 0
    assert [row["status"] for row in rows()] == ["restored", "interrupted", "restored", "restored"]


def test_what_was_restored_is_summed_up_by_kind() -> None:
    summary, state = Summary(), FileState("a", 1, 1)
    for film, faces in ((None, [{"strength": 1.0}]), ({"tracks": []}, [])):
        summary.add(Row(input=state, status="restored", film=film, faces=faces))
    summary.add(Row(input=state, status="failed", reason="damaged"))
    out = Path("out")
    assert summary.line(1, out, 2) == "1 face in 1 of 1 pictures, 1 of 2 films restored; 1 failed; see out"
    assert Summary().line(0, out, 1) == "0 of 1 film restored; see out"
    assert Summary().line(1, out) == "0 faces in 0 of 1 pictures restored; see out"


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_a_log_file_gets_frames_per_second_and_the_time_left(
    restore: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(range(0, 10**6, 5))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(now)))
    save("in/b.mp4")
    assert restore("in") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("b.mp4, restoring: ")]
    assert lines and "/10 frames, " in lines[0] and " left, " in lines[0] and "s each" in lines[0]


def test_a_dry_run_names_films_and_loads_neither_torch_nor_av(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.webm"):
        (tmp_path / "in" / name).write_bytes(b"a film")
    code = (
        "import sys\nfrom memgan.apps.cli import restore\nfrom memgan.apps.cli.main import main\n"
        "import memgan.video\nmemgan.video.is_available = lambda: True\n"
        "restore.weights_of = lambda *given, **how: {}\n"
        f"status = main(['restore', {str(tmp_path / 'in')!r}, '-o', 'out', '--container', 'mp4', '--dry-run'])\n"
        "print(status, *sorted({'torch', 'av', 'scipy', 'cv2'} & {name.partition('.')[0] for name in sys.modules}))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{tmp_path}/in/a.mp4 -> out/restored_videos/a.mp4",
        f"{tmp_path}/in/b.webm -> out/restored_videos/b.webm.mp4",
        "0",
    ]
