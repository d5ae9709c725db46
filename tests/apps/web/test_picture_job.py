"""A picture on the page: its file is the command's, byte for byte, and changes need no network."""

import dataclasses
import io
import json
import shlex
import shutil
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import scene
from page_studio import SMALL, Workshop, failed, files_below, files_in, runs, wait_until, workshop
from PIL import Image, ImageCms, TiffImagePlugin

from memgan.apps.web import commands
from memgan.apps.web.lane import Stopped
from memgan.apps.web.picture_job import Looks, PictureJob
from memgan.errors import ConfigError, MemGANError
from memgan.restoration.options import RestoreOptions
from memgan.runtime.options import option_of
from memgan.runtime.per_face import PerFace

PLAIN = RestoreOptions(upscale=1)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    with workshop(tmp_path, monkeypatch, max_megapixels=1.0) as made:
        yield made


def png(height: int = 120, width: int = 160, seed: int = 0) -> bytes:
    return bytes(cv2.imencode(".png", scene(height, width, seed))[1])


def saved(picture: Image.Image, kind: str, **how: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **how)
    return data.getvalue()


def photograph() -> bytes:
    """A JPEG file with EXIF, a comment and a color profile."""
    exif = Image.Exif()
    exif[0x010E] = "At the lake"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return saved(Image.fromarray(scene()), "JPEG", quality=80, exif=exif, icc_profile=profile, comment=b"scanned")


def deep(suffix: str, channels: int) -> bytes:
    planes = scene().astype(np.uint16) * 257
    alpha = np.linspace(0, 65535, planes[..., 0].size).reshape(planes.shape[:2]).astype(np.uint16)
    return bytes(cv2.imencode(suffix, np.dstack([planes, alpha])[:, :, :channels])[1])


FILES = {
    "photo.jpg": photograph(),
    "deep alpha.png": deep(".png", 4),
    "deep.tiff": deep(".tiff", 3),
    "gray.png": saved(Image.fromarray(scene()).convert("L"), "PNG"),
    "lossy.webp": saved(Image.fromarray(scene()), "WEBP", quality=70),
    "Größe 'n „Maß“ $HOME.jpg": photograph(),
    "really a photograph.png": photograph(),
    "no suffix": png(),
}


def job_of(shop: Workshop, name: str = "a.png", data: bytes | None = None, options: RestoreOptions = PLAIN) -> PictureJob:
    path = shop.sent(name, png() if data is None else data)
    return PictureJob(shop.studio, shop.visitor(), path, options)


def same_as_the_command(shop: Workshop, job: PictureJob) -> None:
    """The files of the page are those of the command that it shows."""
    words = shlex.split(commands.of_picture(job.path.name, job.options_now, SMALL))
    assert words[:2] == ["memgan", "restore"]
    job_folder = job.path.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(job_folder)
        output = shop.command(*words[2:])
    expected = files_below(output)
    assert job.result().read_bytes() in [data for name, data in expected.items() if name.startswith("restored_imgs/")]
    assert files_in(job.everything()) == expected
    shutil.rmtree(output)


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_the_command_s(shop: Workshop, name: str) -> None:
    job = shop.done(job_of(shop, name, FILES[name]))
    assert job.progress.status == "done" and len(job.faces) == 2
    same_as_the_command(shop, job)
    assert job.result_name == f"{Path(name).stem}_restored{job.result().suffix}"
    job.change(Looks([0.25, 0.8], [1], False, 0.1))
    same_as_the_command(shop, job)


LOOKS = [
    Looks([1.0, 1.0, 1.0], [0, 1, 2], True, 0.5),
    Looks([0.3, 0.3, 0.3], [0, 1, 2], True, 0.0),
    Looks([1.0, 0.5, 1.0], [0, 1, 2], False, 1.0),
    Looks([0.1, 0.123456789, 1 / 3], [0, 2], True, 1 / 7),
    Looks([1.0, 0.0, 1.0], [1], True, 0.5),
    Looks([1.0, 0.5, 0.2], [2, 0], True, 0.5),
    Looks([1.0, 0.5, 0.2], [2, 1, 0], True, 0.5),
    Looks([0.5, 1.0, 1.0], [0, 0, 1], True, 0.5),
    Looks([1.0, 0.5, 1.0], [], True, 0.5),
    Looks([0.0, 0.0, 0.0], [0, 1, 2], True, 0.5),
]


@pytest.mark.parametrize("upscale", [1.0, 1.7])
def test_ticks_and_strengths_give_the_command_s_file(shop: Workshop, upscale: float) -> None:
    shop.detector.count = 3
    job = shop.done(job_of(shop, "photo.jpg", FILES["photo.jpg"], dataclasses.replace(PLAIN, upscale=upscale)))
    for looks in LOOKS:
        job.change(looks)
        same_as_the_command(shop, job)
    job.change(Looks([0.5, 0.5, 0.5], [0, 1, 2], True, 0.5))
    assert job.options_now.weight == 0.5 and job.options_now.face_index is None
    # Two of the detector's calls are the command's, for each of the looks.
    assert shop.detector.calls == 1 + len(LOOKS)


def test_fidelities_and_maps_give_the_command_s_files(shop: Workshop) -> None:
    options = dataclasses.replace(PLAIN, fidelity=0.5, reliability=True)
    job = shop.done(job_of(shop, options=options))
    assert all(face.fidelity == 0.5 and face.error_map is not None and face.error_map.is_file() for face in job.faces)
    same_as_the_command(shop, job)
    assert any(name.endswith("_map.png") for name in files_in(job.everything())), "there are maps"
    job.change(Looks([0.4, 1.0], [1], True, 0.2))
    old = job.faces
    job.change_fidelity([0.0, 1.0])
    assert job.options_now.fidelity == 0.5, "what is shown is as it was until the network has run"
    same_as_the_command(shop, job)
    shop.done(job)
    assert [face.fidelity for face in job.faces] == [0.0, 1.0]
    assert job.looks == Looks([0.4, 1.0], [1], True, 0.2), "ticks and strengths stay"
    same_as_the_command(shop, job)
    assert not any(face.before_after.exists() for face in old), "pictures that are shown no more are removed"
    with pytest.raises(ConfigError, match="fidelity"):
        job.change_fidelity([2.0, 1.0])
    job.change_fidelity([1.0])
    shop.done(job)
    assert job.options.fidelity == 1.0, "faces without a control keep their setting"


def test_the_fidelity_of_every_face_does_not_wait_for_the_network(shop: Workshop) -> None:
    job = shop.done(job_of(shop))
    shop.detector.gate.clear()
    shop.studio.start(job)
    assert not job.progress.is_over, "from the start on, or the page would show the old result"
    assert shop.detector.is_waiting.wait(30)
    job.change_fidelity([0.5, 0.5])  # on the loop of the server, which must not stand still
    shop.detector.gate.set()
    assert job.wait(30) and job.options.fidelity == 0.0
    shop.done(job)
    assert job.options.fidelity == 0.5


def test_what_did_not_change_is_a_copy(shop: Workshop) -> None:
    shop.detector.count = 0
    job = shop.done(job_of(shop, "photo.jpg", FILES["photo.jpg"]))
    assert job.faces == [] and job.result().read_bytes() == FILES["photo.jpg"]
    same_as_the_command(shop, job)
    job.change(Looks([], [], False, 0.2))
    same_as_the_command(shop, job)


def test_the_network_runs_once_for_any_number_of_changes(shop: Workshop) -> None:
    job = shop.done(job_of(shop))
    shown = set()
    for number in range(5):
        job.change(Looks([number / 5, 1.0], [0, 1], True, 0.5))
        assert job.view is not None and job.view.before.is_file() and job.view.after.is_file()
        shown.add(job.view.after)
        job.result()
    assert shop.detector.calls == 1 and len(shown) == 5, "each has an address of its own"
    assert len(list((job.folder / "previews").iterdir())) == 4, "before, after and two faces"


def test_what_was_forgotten_is_made_again(shop: Workshop) -> None:
    job = shop.done(job_of(shop))
    looks = Looks([0.5, 1.0], [0], True, 0.5)
    job.change(looks)
    before, faces = job.result().read_bytes(), job.faces
    assert job.size_bytes > 0 and job.forget() > 0 and job.size_bytes == 0
    assert job.result().read_bytes() == before and shop.detector.calls == 1, "what is written stays"
    job.change(Looks([0.5, 1.0], [0, 1], True, 0.5))
    assert shop.detector.calls == 2 and job.progress.status == "done" and shop.studio.num_waiting == 0
    job.change(looks)
    assert job.result().read_bytes() == before and shop.detector.calls == 2
    assert job.faces == faces and all(face.before_after.is_file() for face in faces), "the page still shows them"
    job.forget()
    job._written = None
    assert job.result().read_bytes() == before and shop.detector.calls == 3


WRONG = {
    "a strength above 1": ((([1.5, 1.0]), [0], True, 0.5), "weights of face 0"),
    "a word": (((["x", 1.0]), [0], True, 0.5), "weights of face 0"),
    "not a number": ((([float("nan"), 1.0]), [0], True, 0.5), "weights of face 0"),
    "one strength": (([1.0], [0], True, 0.5), "strengths has 1 numbers; give 2"),
    "a number": ((1.0, [0], True, 0.5), "strengths is 1.0; give a list"),
    "no such face": (([1.0, 1.0], [2], True, 0.5), "face 2"),
    "a negative face": (([1.0, 1.0], [-1], True, 0.5), "number of faces"),
    "half a face": (([1.0, 1.0], [0.5], True, 0.5), "number of faces"),
    "faces as a word": (([1.0, 1.0], "01", True, 0.5), "faces is '01'; give a list"),
    "faces without end": (([1.0, 1.0], [0] * 9, True, 0.5), "faces has 9 numbers"),
    "no switch": (([1.0, 1.0], [0], "perhaps", 0.5), "color_lock"),
    "too much grain": (([1.0, 1.0], [0], True, 1.5), "grain"),
}


@pytest.mark.parametrize("forgotten", [False, True])
def test_wrong_looks_leave_all_as_it_was(shop: Workshop, forgotten: bool) -> None:
    job = shop.done(job_of(shop))
    job.change(Looks([0.5, 1.0], [0], False, 0.25))
    before = job.result().read_bytes()
    looks, view, options = job.looks, job.view, job.options_now
    for values, problem in WRONG.values():
        if forgotten:
            job.forget()
            job._written = None
        with pytest.raises(ConfigError, match=problem):
            job.change(Looks(*values))  # type: ignore[arg-type]
        assert (job.looks, job.options_now) == (looks, options) and job.progress.status == "done"
        assert job.view == view and view is not None and view.after.is_file()
    assert job.result().read_bytes() == before
    assert shop.studio.num_waiting == 0


def test_change_some_keeps_the_rest(shop: Workshop) -> None:
    job = shop.done(job_of(shop))
    job.change_some([0.5, 0.25], None, None, None)
    job.change_some(None, [1], None, 0.75)
    assert job.looks == Looks([0.5, 0.25], [1], True, 0.75)
    job.change_some(None, None, False, None)
    assert job.options_now == dataclasses.replace(
        job.options, weight=0.25, face_index=(1,), color_lock=False, grain=0.75
    )


def test_threads_change_at_once(shop: Workshop) -> None:
    job = shop.done(job_of(shop))
    numbers = iter(range(100))

    def change() -> None:
        weight = next(numbers) / 100
        job.change(Looks([weight, weight], [0, 1], True, 0.5))
        job.result()

    runs(lambda: [change() for _ in range(3)], 4)
    same_as_the_command(shop, job)
    assert shop.detector.calls == 2, "one is the command's"


def test_before_the_end_nothing_can_be_changed_or_had(shop: Workshop) -> None:
    job = job_of(shop)
    for ask in (lambda: job.change(Looks([], [], True, 0.5)), lambda: job.change_some(None, [], None, None), job.result):
        with pytest.raises(MemGANError, match=r"a\.png is not restored yet"):
            ask()
    assert shop.detector.calls == 0


def moving(count: int) -> bytes:
    frames = [Image.fromarray(scene(seed=number)) for number in range(count)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


BAD: dict[str, tuple[bytes, str]] = {
    "moving.gif": (moving(3), "moving.gif holds 3 pictures; give it under “Many pictures”"),
    "large.png": (png(1200, 1000), "large.png has 1 megapixels; this page takes up to 1"),
    "text.txt": (b"Dear diary", "text.txt"),
    "empty.jpg": (b"", "empty.jpg"),
    "cut.jpg": (photograph()[:900], "cut.jpg"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_restored(shop: Workshop, name: str) -> None:
    data, problem = BAD[name]
    job = shop.done(job_of(shop, name, data))
    said = failed(job)
    assert problem in said and str(shop.folder) not in said and job.path.parent.name not in said
    assert shop.studio.num_waiting == 0
    with pytest.raises(MemGANError, match="not restored yet"):
        job.result()
    assert shop.done(job_of(shop)).progress.status == "done", "the next one gets its turn"


def test_a_result_that_would_be_too_large(shop: Workshop) -> None:
    said = failed(shop.done(job_of(shop, options=dataclasses.replace(PLAIN, upscale=16.0))))
    assert "a.png would become a picture of 5 megapixels; this page makes up to 4" in said
    assert shop.detector.calls == 0


def test_a_picture_that_is_gone(shop: Workshop) -> None:
    job = job_of(shop)
    job.path.unlink()
    said = failed(shop.done(job))
    assert "a.png" in said and str(shop.folder) not in said


def test_a_visitor_who_is_gone(shop: Workshop) -> None:
    job = shop.done(job_of(shop))
    folder = shop.visitors.root / shop.visitor().key
    shutil.rmtree(folder)
    job.forget()
    for ask in (lambda: job.change(Looks([1.0, 1.0], [0], True, 0.5)), job.result, job.everything):
        with pytest.raises((MemGANError, OSError)) as caught:
            ask()
        assert str(shop.folder) not in shop.studio.explain(caught.value)
    assert not folder.exists(), "nothing is written where nobody will remove it"
    assert job.progress.status == "done"


def test_one_that_waits_ends_when_its_files_go(shop: Workshop) -> None:
    first, second = job_of(shop), PictureJob(shop.studio, shop.visitor("ben"), shop.sent("b.png", png(), "ben"), PLAIN)
    shop.detector.gate.clear()
    shop.studio.start(first)
    assert shop.detector.is_waiting.wait(30)
    shop.studio.start(second)
    wait_until(lambda: second.progress.text == "In line: one is before you")
    shutil.rmtree(second.folder)
    assert second.wait(30) and second.progress.status == "stopped"
    shop.detector.gate.set()
    assert first.wait(30) and first.progress.status == "done"


def test_a_job_that_is_stopped_in_line(shop: Workshop) -> None:
    job = job_of(shop)
    with shop.studio.lane.turn(urgent=True, stops=lambda: False):
        shop.studio.start(job)
        job.stop()
        assert job.wait(30) and job.progress.status == "stopped" and job.view is None
    with pytest.raises(MemGANError):
        job.result()


def test_no_room_for_results(shop: Workshop) -> None:
    job = job_of(shop)
    (job.path.parent / "much").write_bytes(b"0" * 100)
    shop.visitors.max_visitor_bytes = 100
    assert "all that one visitor gets" in failed(shop.done(job))


def test_a_disk_that_is_full(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = shop.done(job_of(shop))
    before, looks, view = job.result().read_bytes(), job.looks, job.view

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device", str(job.folder / "x.jpg"))

    monkeypatch.setattr("memgan.apps.web.picture_job.picture_preview", full)
    with pytest.raises(OSError, match="No space left"):
        job.change(Looks([0.5, 0.5], [0], True, 0.5))
    assert job.looks == looks and job.view == view and job.result().read_bytes() == before


def test_the_record_of_the_zip_file_names_no_folder(shop: Workshop) -> None:
    job = shop.done(job_of(shop, "Größe.png"))
    with zipfile.ZipFile(job.everything()) as file:
        names, lines = file.namelist(), file.read("records.jsonl").decode().splitlines()
    assert sorted(names) == [
        "cmp/Größe.png_00.png",
        "cmp/Größe.png_01.png",
        "cropped_faces/Größe.png_00.png",
        "cropped_faces/Größe.png_01.png",
        "records.jsonl",
        "restored_faces/Größe.png_00.png",
        "restored_faces/Größe.png_01.png",
        "restored_imgs/Größe.png",
    ]
    (row,) = map(json.loads, lines)
    assert row["input"]["path"] == "Größe.png" and len(row["faces"]) == 2 and row["weights"]["name"] == "small"
    assert str(shop.folder) not in lines[0] and shop.visitor().key not in lines[0]
    assert set(job.record) == {
        *("status", "reason", "faces", "left_alone", "notes", "weights", "dtype", "device", "backend", "memgan")
    }
    assert str(shop.folder) not in json.dumps(job.record)


def test_every_field_of_a_command_is_said_so_that_it_is_read_again() -> None:
    options = RestoreOptions(
        upscale=1 / 3 + 1, weight=PerFace(((0, 0.1), (1, 1 / 3)), 1.0), fidelity=0.25, grain=0.1234567, face_index=(2, 0)
    )
    from memgan.apps.cli import main as cli
    from memgan.apps.cli.arguments import options_from
    from memgan.apps.files.restore_options import PartOptions

    parts = PartOptions(
        **{
            field.name: (option_of(field).choices or ("x y",))[-1]
            for field in dataclasses.fields(PartOptions)
            if field.name not in ("bg_tile", "half", "threads")
        },
        bg_tile=200,
        half=True,
    )
    words = shlex.split(commands.of_picture("-a b.png", options, parts, upsampled=True))
    args = cli.build_parser("restore").parse_args(words[1:])
    assert list(map(str, args.inputs)) == ["-a b.png"]
    assert options_from(args, RestoreOptions) == options and options_from(args, PartOptions) == parts
    plain = shlex.split(commands.of_picture("a.png", PLAIN, PartOptions()))
    assert plain == ["memgan", "restore", "a.png", "-o", "results"]
