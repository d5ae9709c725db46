"""Many pictures on the page: what ``memgan restore`` makes of a folder, whatever is among them."""

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from fakes import scene
from page_studio import Workshop, files_below, files_in, wait_until, workshop
from PIL import Image

from memgan.apps.web.archive import zip_folder
from memgan.apps.web.folder_job import FolderJob
from memgan.apps.web.job import Progress
from memgan.apps.web.picture_job import PictureJob
from memgan.restoration.options import RestoreOptions

PLAIN = RestoreOptions(upscale=1)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    with workshop(tmp_path, monkeypatch, max_megapixels=1.0) as made:
        yield made


def encoded(suffix: str = ".png", seed: int = 0, height: int = 120) -> bytes:
    return bytes(cv2.imencode(suffix, scene(height, 160, seed=seed))[1])


def gif() -> bytes:
    data = io.BytesIO()
    frames = [Image.fromarray(scene(seed=number)) for number in range(3)]
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    return data.getvalue()


def job_of(
    shop: Workshop, files: dict[str, bytes] | list[tuple[str, bytes]], options: RestoreOptions = PLAIN
) -> FolderJob:
    pairs = files.items() if isinstance(files, dict) else files
    return FolderJob(shop.studio, shop.visitor(), [shop.sent(name, data) for name, data in pairs], options)


def test_results_are_the_command_s(shop: Workshop) -> None:
    files = {"a.jpg": encoded(".jpg"), "Größe 2.png": encoded(seed=1), "c.gif": gif(), "d.tif": encoded(".tif", 2)}
    given = shop.folder / "in"
    given.mkdir()
    for name, data in files.items():
        (given / name).write_bytes(data)
    options = dataclasses.replace(PLAIN, weight=0.7, reliability=True, fidelity=0.5)
    job = shop.done(job_of(shop, files, options))
    assert job.progress.status == "done" and "4 of 4 pictures" in job.summary
    assert {line.split(":")[0] for line in job.problems} == {"c.gif"}, "a type that does not hold everything"
    output = shop.command(given, "--weights", "small", "-w", "0.7", "--fidelity", "0.5", "--reliability")
    assert files_in(job.archive) == files_below(output)
    assert job.file("all") == job.archive and job.file("photograph") is None

    def rows(lines: str) -> list[dict[str, object]]:
        found = [json.loads(line) for line in lines.splitlines()]
        for row in found:
            row["input"] = Path(row["input"]["path"]).name
            row.pop("seconds"), row.pop("run")
        return sorted(found, key=lambda row: str(row["input"]))

    assert job.archive is not None
    with zipfile.ZipFile(job.archive) as file:
        text = file.read("records.jsonl").decode()
    assert rows(text) == rows((output / "records.jsonl").read_text("utf-8"))
    assert str(shop.folder) not in text and shop.visitor().key not in text


def test_equal_names_get_numbers(shop: Workshop) -> None:
    names = ["a.png", "A.png", "a.png", "a (2).png", "b.png"]
    job = shop.done(job_of(shop, [(name, encoded(seed=number)) for number, name in enumerate(names)]))
    found = [name for name in files_in(job.archive) if name.startswith("restored_imgs/")]
    assert sorted(found) == [
        "restored_imgs/A (2).png",
        "restored_imgs/a (2) (2).png",
        "restored_imgs/a (3).png",
        "restored_imgs/a.png",
        "restored_imgs/b.png",
    ]


def test_what_cannot_be_restored_is_named_and_left_out(shop: Workshop) -> None:
    files = {
        "a.png": encoded(),
        "film.mp4": b"\0" * 100,
        "text.txt": b"Dear diary",
        "empty.jpg": b"",
        "cut.jpg": encoded(".jpg")[:700],
        "large.png": encoded(height=7000),
        "z.png": encoded(seed=1),
    }
    job = job_of(shop, files)
    (gone,) = (item.path for item in job._inputs if item.path.name == "text.txt")
    gone.unlink()
    shop.done(job)
    assert job.progress.status == "done"
    by_name = {line.split(":")[0]: line for line in job.problems}
    assert set(by_name) == {"film.mp4", "text.txt", "empty.jpg", "cut.jpg", "large.png"}
    assert all(": left out: " in line for line in job.problems)
    assert "left out: is a film; give it under “Film”" in by_name["film.mp4"]
    assert "1 megapixels; this page takes up to 1" in by_name["large.png"]
    assert not any(str(shop.folder) in line for line in job.problems)
    assert sorted(name for name in files_in(job.archive) if "restored_imgs" in name) == [
        "restored_imgs/a.png",
        "restored_imgs/z.png",
    ]


def test_nothing_at_all_can_be_restored(shop: Workshop) -> None:
    job = shop.done(job_of(shop, {"empty.jpg": b""}))
    assert job.progress.status == "done" and job.archive is None and len(job.problems) == 1
    with pytest.raises(Exception, match="no all to download"):
        shop.studio.download(shop.visitor(), job.token, "all")


def test_progress_counts(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Progress] = []
    job = job_of(shop, {f"{number}.png": encoded(seed=number) for number in range(3)})
    tell = job._tell

    def watched(*given: object) -> None:
        tell(*given)  # type: ignore[arg-type]
        seen.append(job.progress)

    monkeypatch.setattr(job, "_tell", watched)
    shop.done(job)
    running = [one for one in seen if one.status == "running"]
    assert [(one.done, one.total) for one in running] == [(0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]
    assert [one.text for one in running][:2] == ["Restoring picture 1 of 3", "Restoring picture 2 of 3"]
    assert [one.seconds_left is None for one in running] == [True, False, False, True, True]
    assert all(one.seconds_left is None or one.seconds_left >= 0 for one in running)
    assert seen[-1].status == "done" and seen[-1].is_over


def test_what_is_done_when_it_is_stopped_is_packed(shop: Workshop) -> None:
    job = job_of(shop, {f"{number}.png": encoded(seed=number) for number in range(4)})
    shop.detector.gate.clear()
    shop.studio.start(job)
    assert shop.detector.is_waiting.wait(30)
    job.stop()
    shop.detector.gate.set()
    assert job.wait(30) and job.progress.status == "stopped"
    assert [name for name in files_in(job.archive) if "restored_imgs" in name] == ["restored_imgs/0.png"]
    assert shop.studio.download(shop.visitor(), job.token, "all")[0] == job.archive


def test_one_that_is_stopped_in_line(shop: Workshop) -> None:
    job = job_of(shop, {"a.png": encoded()})
    with shop.studio.lane.turn(urgent=True, stops=lambda: False):
        shop.studio.start(job)
        wait_until(lambda: "one is before you" in job.progress.text)
        job.stop()
        assert job.wait(30) and job.progress.status == "stopped" and job.archive is None
    assert shop.detector.calls == 0


def test_single_pictures_go_between(shop: Workshop) -> None:
    many = job_of(shop, {f"{number}.png": encoded(seed=number) for number in range(3)})
    one = PictureJob(shop.studio, shop.visitor("ben"), shop.sent("b.png", encoded(seed=9), "ben"), PLAIN)
    shop.detector.gate.clear()
    shop.studio.start(many)
    assert shop.detector.is_waiting.wait(30)
    shop.studio.start(one)
    wait_until(lambda: "one is before you" in one.progress.text)
    shop.detector.is_waiting.clear()
    shop.detector.gate.set()
    assert one.wait(30) and one.progress.status == "done"
    assert not many.progress.is_over, "it went between two of them"
    assert many.wait(30) and many.progress.status == "done" and "3 of 3" in many.summary


def test_a_folder_that_goes_while_it_works(shop: Workshop) -> None:
    job = job_of(shop, {f"{number}.png": encoded(seed=number) for number in range(3)})
    shop.detector.gate.clear()
    shop.studio.start(job)
    assert shop.detector.is_waiting.wait(30)
    (shop.visitors.root / shop.visitor().key).rename(shop.folder / "gone")
    shop.detector.gate.set()
    assert job.wait(30) and job.progress.status in ("failed", "stopped")
    assert str(shop.folder) not in job.progress.text and shop.detector.calls == 1
    assert not job.folder.exists(), "nothing stays where nobody removes it"
    assert shop.studio.num_waiting == 0


def test_a_zip_file_of_files_without_a_date(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "a.png").write_bytes(b"a")
    os.utime(folder / "x" / "a.png", (0, 0))
    zip_folder(folder, tmp_path / "all.zip", str)
    assert files_in(tmp_path / "all.zip") == {"x/a.png": b"a"}
