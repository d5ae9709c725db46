"""A film on the page: what ``memgan restore`` makes of it, and single pictures between its frames."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

pytest.importorskip("av")
from clips import make_clip
from fakes import scene
from page_studio import Workshop, failed, files_below, wait_until, workshop

from memgan.apps.web import commands
from memgan.apps.web.film_job import FilmJob
from memgan.apps.web.picture_job import PictureJob
from memgan.restoration.options import RestoreOptions
from memgan.video.options import VideoOptions

PLAIN = RestoreOptions(upscale=1)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    with workshop(tmp_path, monkeypatch, max_megapixels=1.0) as made:
        yield made


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mkv", 6, codec="ffv1", size=(160, 120), audio=1).read_bytes()


def job_of(
    shop: Workshop, data: bytes, name: str = "a film.mkv", video: VideoOptions | None = None, **how: float
) -> FilmJob:
    options = RestoreOptions(**{"upscale": 1, **how})  # type: ignore[arg-type]
    return FilmJob(shop.studio, shop.visitor(), shop.sent(name, data), options, video or VideoOptions())


def test_the_film_is_the_command_s(shop: Workshop, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    job = shop.done(job_of(shop, clip, video=VideoOptions(steadiness=0.5, every=2), weight=0.6))
    assert job.progress.status == "done", job.progress
    words = shlex.split(commands.of_film(job.path.name, job.options, job.video, shop.studio.parts))
    assert {"--steadiness", "--every", "--weight"} <= set(words)
    monkeypatch.chdir(job.path.parent)
    (expected,) = files_below(shop.command(*words[2:])).values()
    assert job.result is not None and job.result.read_bytes() == expected and job.result.name == "a film.mkv"
    assert shop.studio.download(shop.visitor(), job.token, "film") == (job.result, "a film.mkv")
    assert job.file("all") is None
    assert job.views is not None and all(path.is_file() for path in job.views)
    assert job.views[0].read_bytes() != job.views[1].read_bytes()


def test_a_film_without_faces(shop: Workshop, clip: bytes) -> None:
    shop.detector.count = 0
    job = shop.done(job_of(shop, clip))
    assert job.progress.status == "done" and job.result is not None
    assert job.summary.startswith("No face was found that could be restored. ")


def test_a_film_that_is_stopped(shop: Workshop, clip: bytes) -> None:
    job = job_of(shop, clip)
    shop.detector.gate.clear()
    shop.studio.start(job)
    assert shop.detector.is_waiting.wait(30)
    job.stop()
    shop.detector.gate.set()
    assert job.wait(30) and job.progress.status == "stopped" and job.result is None
    assert shop.detector.calls == 1
    with shop.studio.lane.turn(urgent=True, stops=lambda: False):
        pass


def test_a_picture_goes_between_the_frames(shop: Workshop, clip: bytes) -> None:
    film = job_of(shop, clip)
    data = bytes(cv2.imencode(".png", scene())[1])
    picture = PictureJob(shop.studio, shop.visitor("ben"), shop.sent("b.png", data, "ben"), PLAIN)
    shop.detector.gate.clear()
    shop.studio.start(film)
    assert shop.detector.is_waiting.wait(30)
    shop.studio.start(picture)
    wait_until(lambda: "one is before you" in picture.progress.text)
    shop.detector.gate.set()
    assert picture.wait(30) and picture.progress.status == "done" and not film.progress.is_over
    assert film.wait(30) and film.progress.status == "done"


def test_the_time_that_is_left_counts_from_the_stage(
    shop: Workshop, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the film has given way, when the words before were others."""
    job, begun, stages = job_of(shop, clip), [], []
    anew = job._begin_anew

    def begin() -> None:
        begun.append(job.progress.text)
        anew()

    show = job._show

    def watched(now: object) -> None:
        stages.append(now.stage)  # type: ignore[attr-defined]
        job._in_line(1)
        show(now)  # type: ignore[arg-type]

    monkeypatch.setattr(job, "_begin_anew", begin)
    monkeypatch.setattr(job, "_show", watched)
    shop.done(job)
    assert len(begun) == 1 + len(set(stages)) and len(stages) > len(set(stages))


@pytest.mark.parametrize(
    ("name", "data"), [("a.mp4", b"no film at all"), ("b.mkv", b""), ("c.png", bytes(cv2.imencode(".png", scene())[1]))]
)
def test_what_is_no_film(shop: Workshop, name: str, data: bytes) -> None:
    said = failed(shop.done(job_of(shop, data, name)))
    assert name in said and str(shop.folder) not in said


def test_a_damaged_film(shop: Workshop, tmp_path: Path) -> None:
    data = bytearray(make_clip(tmp_path / "x.mp4", 20, size=(160, 120), options={"g": "5"}).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(byte ^ 0x5A for byte in data[middle : middle + 200])
    job = shop.done(job_of(shop, bytes(data), "x.mp4"))
    assert job.progress.status == "done" and job.result is not None
    assert any(note.endswith(("are restored", "is restored", "left out")) for note in job.notes), job.notes


def test_frames_that_are_too_large(shop: Workshop, clip: bytes) -> None:
    assert "a film.mkv would become" in failed(shop.done(job_of(shop, clip, upscale=16.0)))
    assert shop.detector.calls == 0
