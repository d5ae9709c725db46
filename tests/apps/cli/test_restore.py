"""The ``memgan`` command, called in this process with a tiny but real network."""

import json
import os
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakeDetector, face_at, scene
from PIL import Image
from tiny import TINY, save_tiny_weights

from memgan import __version__
from memgan.apps.cli import main as cli
from memgan.image import load_picture
from memgan.network.config import PRESETS
from memgan.runtime.progress import ProgressBar

PHOTOS = Path(__file__).parents[3] / "examples" / "photos"
FOLDERS = ("restored_imgs", "restored_faces", "cropped_faces", "cmp")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def restore(weights, monkeypatch):
    """``memgan restore`` with tiny weights and a detector that finds two faces in everything."""

    def create_detector(name, **options):
        return FakeDetector(face_at(50, 50), face_at(110, 60))

    monkeypatch.setattr("memgan.restoration.restorer.create_detector", create_detector)

    def call(*arguments):
        return cli.main(["restore", "--weights", str(weights), "--device", "cpu", *map(str, arguments)])

    return call


def save(path: Path, image: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = scene() if image is None else image
    data = cv2.imencode(path.suffix.lower(), image)[1]  # cv2.imwrite fails silently on some names
    path.write_bytes(data.tobytes())
    return path


def files_in(folder: Path) -> list[str]:
    """All but the record and its lock."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(file for file in files if not file.endswith(("records.jsonl", "records.jsonl.lock")))


def test_results_of_a_file(restore, tmp_path, capsys):
    picture = save(tmp_path / "in" / "photo.png")
    assert restore(picture, "-o", tmp_path / "out") == 0
    assert files_in(tmp_path / "out") == [
        "cmp/photo.png_00.png",
        "cmp/photo.png_01.png",
        "cropped_faces/photo.png_00.png",
        "cropped_faces/photo.png_01.png",
        "restored_faces/photo.png_00.png",
        "restored_faces/photo.png_01.png",
        "restored_imgs/photo.png",
    ]
    out, err = capsys.readouterr()
    assert "2 faces in 1 of 1 pictures" in out and str(tmp_path / "out") in out
    assert err == ""  # what is done at once leaves no line in a log
    before, after = (load_picture(path).rgb for path in (picture, tmp_path / "out/restored_imgs/photo.png"))
    assert before.shape == after.shape and (before != after).any()
    cropped, restored = (
        load_picture(tmp_path / f"out/{name}_faces/photo.png_00.png").rgb for name in ("cropped", "restored")
    )
    assert cropped.shape == (TINY.image_size, TINY.image_size, 3)
    np.testing.assert_array_equal(
        load_picture(tmp_path / "out/cmp/photo.png_00.png").rgb, np.hstack([cropped, restored])
    )


def test_restores_the_example_photographs_with_the_embedded_detector(weights, tmp_path, capsys):
    arguments = ["restore", str(PHOTOS), "-o", str(tmp_path), "--weights", str(weights), "--device", "cpu"]
    assert cli.main(arguments) == 0
    assert "10 faces in 3 of 3 pictures" in capsys.readouterr().out
    names = files_in(tmp_path / "restored_imgs")
    assert names == ["album_page_gray.jpg", "prints_on_a_table.jpg", "video_call.jpg"]
    assert [Image.open(tmp_path / "restored_imgs" / name).mode for name in names] == ["L", "RGB", "RGB"]


def test_unreadable_files_are_named_skipped_and_give_status_1(restore, tmp_path, capsys):
    folder = tmp_path / "in"
    save(folder / "a.png")
    (folder / "b.jpg").write_bytes(b"not a picture")
    truncated = save(folder / "c.jpg")
    truncated.write_bytes(truncated.read_bytes()[:2000])
    (folder / "d.png").write_bytes(b"")
    save(folder / "e.png", scene(20, 8))
    save(folder / "z.png")
    (folder / "notes.txt").write_text("no picture by its name: not looked at")
    assert restore(folder, tmp_path / "missing.png", "-o", tmp_path / "out") == 1
    assert files_in(tmp_path / "out" / "restored_imgs") == ["a.png", "z.png"]
    out, err = capsys.readouterr()
    assert "2 of 6 pictures" in out
    for name in ("b.jpg", "c.jpg", "d.png", "e.png", "missing.png"):
        assert any(name in line for line in err.splitlines()), name
    assert "notes.txt" not in err and "Traceback" not in err


def test_folders_within_folders_only_when_asked(restore, tmp_path):
    folder = tmp_path / "in"
    for name in ("a.png", "sub/a.png", "sub/deep/b.JPG", ".hidden.png"):
        save(folder / name)
    assert restore(folder, "-o", tmp_path / "flat") == 0
    assert files_in(tmp_path / "flat" / "restored_imgs") == ["a.png"]
    assert restore(folder, "-o", tmp_path / "deep", "--recursive") == 0
    assert files_in(tmp_path / "deep" / "restored_imgs") == ["a.png", "sub/a.png", "sub/deep/b.JPG"]
    assert "sub/deep/b.JPG_01.png" in files_in(tmp_path / "deep" / "cmp")


def test_inputs_of_one_name_do_not_overwrite_each_other(restore, tmp_path):
    pictures = [
        save(tmp_path / name, scene(seed=i))
        for i, name in enumerate(["x/a.png", "y/a.png", "y/a.bmp", "y/A.webp", "y/a_png.png", "y/b.png"])
    ]
    words = ("-o", tmp_path / "out", "--ext", "png", "--weight", "0")
    assert restore(*pictures, pictures[0], *words) == 0
    names = files_in(tmp_path / "out" / "restored_imgs")
    assert names == ["A.webp.png", "a.bmp.png", "a_png.png", "b.png", "x/a.png", "y/a.png"]
    assert len(files_in(tmp_path / "out" / "cmp")) == 12  # the repeated one counts once
    for picture, name in zip(pictures, ["x/a.png", "y/a.png", "a.bmp.png"], strict=False):
        result = load_picture(tmp_path / "out" / "restored_imgs" / name)
        np.testing.assert_array_equal(result.rgb, load_picture(picture).rgb)
    # The names do not depend on chance: a second run replaces each result by itself.
    assert restore(*reversed(pictures), *words) == 0
    assert files_in(tmp_path / "out" / "restored_imgs") == names


def test_results_are_not_read_as_inputs(restore, tmp_path, capsys):
    save(tmp_path / "a.png")
    for _ in range(2):
        assert restore(tmp_path, "-o", tmp_path, "--recursive") == 0
    assert files_in(tmp_path / "restored_imgs") == ["a.png"]
    assert restore(tmp_path / "restored_imgs" / "a.png", "-o", tmp_path) == 1
    assert "another output" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_any_script(restore, tmp_path, form):
    name = unicodedata.normalize(form, "Großmütter 写真 😀.jpg")
    save(tmp_path / "Ordnér" / name)
    assert restore(tmp_path / "Ordnér", "-o", tmp_path / "výsledek") == 0
    assert files_in(tmp_path / "výsledek" / "restored_imgs") == [name]


def test_file_types_suffix_and_scale(restore, tmp_path):
    deep = scene(90, 150).astype(np.uint16) * 257
    save(tmp_path / "in" / "deep.png", deep)
    save(tmp_path / "in" / "gray.jpg", scene(90, 150)[:, :, 0])
    save(tmp_path / "in" / "clear.png", np.dstack([scene(90, 150), np.full((90, 150), 99, np.uint8)]))
    picture = save(tmp_path / "strange.png")
    picture.rename(tmp_path / "strange")  # named on purpose, so it is read although its suffix says nothing
    inputs = (tmp_path / "in", tmp_path / "strange")
    assert restore(*inputs, "-o", tmp_path / "out", "--upscale", "1.5", "--suffix", "new", "--quiet") == 0
    out = tmp_path / "out" / "restored_imgs"
    assert files_in(out) == ["clear_new.png", "deep_new.png", "gray_new.jpg", "strange_new.png"]
    results = {path.stem: load_picture(path) for path in out.iterdir()}
    assert results["deep_new"].rgb.dtype == np.uint16 and results["deep_new"].rgb.shape == (135, 225, 3)
    assert results["gray_new"].is_gray
    assert (results["clear_new"].alpha == 99).all()
    assert restore(tmp_path / "in", "-o", tmp_path / "webp", "--ext", "webp", "--no-faces") == 0
    assert files_in(tmp_path / "webp") == [
        f"restored_imgs/{name}.webp" for name in ("clear.png", "deep.png", "gray.jpg")
    ]


def test_aligned_faces_center_face_and_strength(restore, tmp_path):
    picture = save(tmp_path / "face.png", scene(100, 100))
    assert restore(picture, "-o", tmp_path / "aligned", "--aligned") == 0
    assert files_in(tmp_path / "aligned") == [f"{name}/face.png" for name in sorted(FOLDERS[1:])]
    assert restore(picture, "-o", tmp_path / "one", "--only-center-face") == 0
    assert files_in(tmp_path / "one" / "cmp") == ["face.png_00.png"]
    assert restore(picture, "-o", tmp_path / "zero", "--weight", "0") == 0
    np.testing.assert_array_equal(load_picture(tmp_path / "zero/restored_imgs/face.png").rgb, load_picture(picture).rgb)


def test_output_that_cannot_be_written(restore, tmp_path, capsys):
    picture = save(tmp_path / "a.png")
    (tmp_path / "file").write_text("in the way")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        assert restore(picture, "-o", output) == 2
        assert str(output) in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "restored_imgs").write_text("in the way")
    assert restore(picture, "-o", tmp_path / "out") == 2
    assert "restored_imgs" in capsys.readouterr().err
    assert files_in(tmp_path / "out") == ["restored_imgs"]


def test_interruption_leaves_whole_files_only(restore, tmp_path, monkeypatch, capsys):
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png")
    replace, calls = os.replace, []

    def interrupted(source, target):
        calls.append(target)
        if len(calls) == 10:  # in the second picture, when its file is written but not yet in place
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    assert restore(tmp_path / "in", "-o", tmp_path / "out") == 130
    assert "interrupted" in capsys.readouterr().err
    written = files_in(tmp_path / "out")
    assert len(written) == 9
    for path in written:
        load_picture(tmp_path / "out" / path)


def test_progress_bar_on_a_terminal_only(restore, tmp_path, monkeypatch, capsys):
    picture = save(tmp_path / "a.png")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert restore(picture, "-o", tmp_path / "out") == 0
    assert "1/1" in capsys.readouterr().err
    assert restore(picture, "-o", tmp_path / "out", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [(), ("--quiet",)])
def test_a_log_file_gets_progress_too_unless_quiet(restore, tmp_path, monkeypatch, words):
    hidden = []

    class Recorder(ProgressBar):
        def __init__(self, *args, **options):
            hidden.append(options["hidden"])
            super().__init__(*args, **options)

    monkeypatch.setattr("memgan.runtime.progress.ProgressBar", Recorder)
    assert restore(save(tmp_path / "a.png"), "-o", tmp_path / "out", *words) == 0
    assert hidden == [bool(words)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["restore"],
        ["restore", "a.png"],
        ["restore", "a.png", "-o", "out", "--weight", "2"],
        ["restore", "a.png", "-o", "out", "--weight", "much"],
        ["restore", "a.png", "-o", "out", "--detector", "haar"],
        ["restore", "a.png", "-o", "out", "--ext", "psd"],
        ["restore", "a.png", "-o", "out", "--fidelity", "1.5"],
        ["prior"],
        ["prior", "import", "dalle", "-o", "x.safetensors"],
        ["info", "--preset", "huge"],
        ["paint"],
        [],
    ],
)
def test_wrong_usage_is_status_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("memgan") and ": error: " in line and line.endswith("--help`")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--upscale", "0"], "upscale"),
        (["--upscale", "nan"], "upscale"),
        (["--device", "abacus"], "abacus"),
        (["--half", "--device", "cpu"], "half"),
        (["--suffix", "a/b"], "a/b"),
        (["--aligned", "--no-faces"], "--no-faces"),
        (["--score-threshold", "1.5"], "score_threshold"),
    ],
)
def test_options_that_cannot_be_met_are_status_2(arguments, named, weights, tmp_path, capsys):
    picture = save(tmp_path / "a.png")
    if "--weights" not in arguments:
        arguments = [*arguments, "--weights", str(weights)]
    assert cli.main(["restore", str(picture), "-o", str(tmp_path / "out"), *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("memgan: error: ") and named in err
    assert files_in(tmp_path / "out") == []


def test_help_and_version(capsys):
    for words in ("--help", "restore --help", "prior --help", "prior import --help", "info -h"):
        with pytest.raises(SystemExit) as stop:
            cli.main(words.split())
        assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--only-center-face" in out and "cropped_faces" in out
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_info_of_weights(weights, capsys):
    import hashlib

    assert cli.main(["info", str(weights)]) == 0
    text = capsys.readouterr().out
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    for expected in (digest, str(weights), "license", "image_size", "encoder", "decoder", "total", "torch"):
        assert expected in text
    assert cli.main(["info", str(weights), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["weights"]["sha256"] == digest and report["weights"]["metadata"] == {"license": "none"}
    assert report["config"]["image_size"] == TINY.image_size
    from memgan.network.model import build_memgan

    parameters = sum(parameter.numel() for parameter in build_memgan(TINY).parameters())
    total = report["cost"][-1]
    assert total["name"] == "total" and total["num_parameters"] == parameters
    assert total["multiply_adds"] == sum(part["multiply_adds"] for part in report["cost"][:-1])


def test_info_of_presets_and_wrong_weights(tmp_path, capsys):
    costs = {}
    for name in PRESETS:
        assert cli.main(["info", "--preset", name, "--json"]) == 0
        costs[name] = {part["name"]: part for part in json.loads(capsys.readouterr().out)["cost"]}
    assert costs["memgan-mobile-512"]["total"]["multiply_adds"] < 30e9
    assert costs["memgan-512"]["total"]["multiply_adds"] > 100e9
    # Attention of the bank at 512 px: positions x slots x channels, for the scores and for the sum.
    attention = 2 * 512 * 512 * 512 * PRESETS["memgan-512"].channels(512)
    assert costs["memgan-512"]["memory"]["multiply_adds"] > attention
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"\x00" * 64)
    assert cli.main(["info", str(foreign)]) == 2
    assert str(foreign) in capsys.readouterr().err
    assert cli.main(["info", str(foreign), "--preset", "memgan-512"]) == 2


def test_prior_import_is_handed_on(tmp_path, monkeypatch, capsys):
    seen = []

    def import_prior(kind, source, out, *, max_size):
        seen.append((kind, source, out, max_size))
        return out

    monkeypatch.setattr("memgan.training.priors.import_prior", import_prior)
    assert cli.main(["prior", "import", "mobile", "-o", "p.safetensors"]) == 0
    assert seen == [("mobile", None, Path("p.safetensors"), 512)]
    assert "p.safetensors" in capsys.readouterr().out
    monkeypatch.undo()
    assert (
        cli.main(["prior", "import", "mobile", "--source", str(tmp_path), "-o", str(tmp_path / "p.safetensors")]) == 2
    )
    assert str(tmp_path) in capsys.readouterr().err


def test_train_has_the_arguments_of_the_training_package(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--faces" in out and "--prior" in out and "--output" in out


def test_parser_loads_no_command_but_the_one_asked_for(monkeypatch):
    loaded = []
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: loaded.append(name) or pytest.fail(name))
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert loaded == []
