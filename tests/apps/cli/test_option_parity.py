"""``memgan restore`` takes what GFPGAN's and CodeFormer's programs take, and reports what it did."""

import hashlib
import json
import threading

import cv2
import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, restorer_options, scene
from tiny import save_tiny_weights

from memgan.apps.cli import main as cli
from memgan.apps.files import restore_files
from memgan.image import load_picture


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def restore(weights, monkeypatch):
    """The command, with a detector that finds three faces of falling size in everything."""
    faces = [face_at(50, 50, 60), face_at(110, 60, 50), face_at(30, 100, 40)]
    monkeypatch.setattr("memgan.restoration.restorer.create_detector", lambda name, **options: FakeDetector(*faces))
    return lambda *words: cli.main(["restore", "--weights", str(weights), "--device", "cpu", *map(str, words)])


def save(path, image=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, scene() if image is None else image)[1].tobytes())
    return path


def files_in(folder):
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(file for file in files if not file.endswith(("records.jsonl", "records.jsonl.lock")))


def report_of(path):
    return json.loads(path.read_text("utf-8"))


def test_the_words_of_inference_gfpgan(restore, tmp_path):
    save(tmp_path / "inputs" / "whole_imgs" / "a.png")
    words = f"-i {tmp_path}/inputs/whole_imgs -o {tmp_path}/results -s 2 --bg_upsampler None --bg_tile 400 --suffix new"
    assert restore(*words.split(), "--only_center_face", "--ext", "auto", "-w", "0.5") == 0
    out = tmp_path / "results"
    assert files_in(out) == [
        "cmp/a.png_00_new.png",
        "cropped_faces/a.png_00_new.png",
        "restored_faces/a.png_00_new.png",
        "restored_imgs/a_new.png",
    ]
    assert load_picture(out / "restored_imgs" / "a_new.png").rgb.shape == (240, 320, 3)
    assert restore("-i", tmp_path / "inputs" / "whole_imgs", "-o", tmp_path / "aligned", "--aligned") == 0
    assert "restored_imgs" not in {name.split("/")[0] for name in files_in(tmp_path / "aligned")}


def test_the_words_of_inference_codeformer(restore, tmp_path):
    picture = save(tmp_path / "a.png")
    words = ["--input", picture, "--output", tmp_path / "out", "--upscale", "2", "--has_aligned"]
    assert restore(*words, "--detection_model", "retinaface_resnet50", "--bg_upsampler", "None") == 0
    assert files_in(tmp_path / "out" / "restored_faces") == ["a.png"]


@pytest.mark.parametrize(
    ("dashes", "underscores"),
    [
        ("--only-center-face", "--only_center_face"),
        ("--bg-upsampler none", "--bg_upsampler none"),
        ("--bg-tile 0", "--bg_tile 0"),
        ("--aligned", "--has_aligned"),
    ],
)
def test_both_spellings(dashes, underscores):
    first, second = (
        vars(cli.build_parser("restore").parse_args(["restore", "a.png", "-o", "out", *words.split()]))
        for words in (dashes, underscores)
    )
    for different in ("usage_error", "run"):
        first.pop(different, None), second.pop(different, None)
    assert first == second


def test_inputs_with_and_without_a_name_are_one_list(restore, tmp_path):
    pictures = [save(tmp_path / f"{name}.png") for name in "abc"]
    assert restore(pictures[0], "-i", pictures[1], "-i", pictures[2], "-o", tmp_path / "out", "--no-faces") == 0
    assert files_in(tmp_path / "out" / "restored_imgs") == ["a.png", "b.png", "c.png"]


def test_faces_by_number(restore, tmp_path, capsys):
    picture = save(tmp_path / "a.png")
    for words, count in (("0", 1), ("0,2", 2), ("7", 0)):
        report = tmp_path / f"{words}.json"
        status = restore(picture, "-o", tmp_path / words, "--face-index", words, "--report", report)
        assert status == (0 if count else 1)
        assert len(report_of(report)["pictures"][0]["faces"]) == count
    (row,) = report_of(tmp_path / "7.json")["pictures"]
    assert row["status"] == "no such face" and "7" in row["reason"]
    assert "a.png: there is no face of number 7" in capsys.readouterr().err
    assert (tmp_path / "7" / "restored_imgs" / "a.png").read_bytes() == picture.read_bytes()
    everything, chosen = tmp_path / "all.json", tmp_path / "0,2.json"
    restore(picture, "-o", tmp_path / "all", "--report", everything)
    faces = report_of(everything)["pictures"][0]["faces"]
    assert report_of(chosen)["pictures"][0]["faces"] == [faces[0], faces[2]]


def test_report(restore, weights, tmp_path):
    folder = tmp_path / "in"
    picture = save(folder / "a.png")
    (folder / "b.jpg").write_bytes(b"no picture")
    report = tmp_path / "made" / "report.json"
    assert restore(folder, tmp_path / "missing.png", "-o", tmp_path / "out", "--report", report, "-w", "0.5") == 1
    content = report_of(report)
    assert content["options"]["weight"] == 0.5 and "missing.png" in content["problems"][0]
    assert content["options"]["skip_sharp"] is True  # the value that was used, not that no word was given
    assert content["output"] == str(tmp_path / "out")
    good, bad = content["pictures"]
    assert good["status"] == "restored" and good["output"] == "restored_imgs/a.png"
    stat = picture.stat()
    assert good["input"] == {"path": str(picture), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    assert good["seconds"] > 0 and good["reason"] is None
    assert good["weights"] == {"name": str(weights), "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert (good["dtype"], good["device"], good["backend"]) == ("float32", "cpu", "torch")
    assert len(good["outputs"]) == 10
    for output in good["outputs"]:
        assert (tmp_path / "out" / output["path"]).stat().st_size == output["size"]
    assert set(good["faces"][0]) == {
        "box_xyxy",
        "landmarks",
        "score",
        "strength",
        "sharpness",
        "fidelity",
        "expected_error",
        "reliability",
        "expected_identity_distance",
        "crop_from_image",
    }
    assert np.shape(good["faces"][0]["landmarks"]) == (5, 2) and good["faces"][0]["strength"] == 0.5
    assert bad["status"] == "failed" and "not a picture" in bad["reason"] and bad["faces"] == []
    assert files_in(report.parent) == ["report.json"]
    rows = (tmp_path / "out" / "records.jsonl").read_text("ascii").splitlines()
    assert [json.loads(row) for row in rows] == content["pictures"]


def test_the_report_tells_what_was_left_alone(restore, tmp_path):
    report = tmp_path / "report.json"
    words = [save(tmp_path / "a.png"), "-o", tmp_path / "out", "--report", report]
    assert restore(*words, "--min-face-size", "25", "--only-center-face") == 0
    (picture,) = report_of(report)["pictures"]
    assert len(picture["faces"]) == 1
    assert [left["reason"] for left in picture["left_alone"]] == ["too small", "not chosen"]
    small = face_at(30, 100, 40)
    assert picture["left_alone"][0]["box_xyxy"] == pytest.approx(small.box_xyxy.tolist(), abs=0.01)
    assert set(picture["left_alone"][0]) == {"box_xyxy", "landmarks", "score", "reason"}


def test_facexlibs_weights_and_a_threshold_go_together(weights, tmp_path, monkeypatch, capsys):
    """And weights for the embedded detector, which has its own, are refused instead of ignored."""
    seen = {}

    def create(name, **options):
        seen.update(options, name=name)
        return FakeDetector(face_at(50, 50, 60))

    picture = save(tmp_path / "a.png")
    words = ["restore", picture, "-o", tmp_path / "out", "--weights", weights, "--detector-weights", tmp_path]
    assert cli.main([*map(str, words)]) == 2
    assert "--detector-weights" in capsys.readouterr().err
    monkeypatch.setattr("memgan.faces.detect.create_detector", create)
    more = ["--detector", "retinaface_mobile0.25", "--score-threshold", "0.3", "--device", "cpu"]
    assert cli.main([*map(str, words), *more]) == 0
    assert (seen["name"], seen["score_threshold"]) == ("retinaface_mobile0.25", 0.3)
    assert str(seen["weights_dir"]) == str(tmp_path)


def test_report_is_written_when_the_work_stops(restore, tmp_path, monkeypatch):
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "b.png")
    load = restore_files.open_pages

    def stop(path, **how):
        if path.name == "b.png":
            raise KeyboardInterrupt
        return load(path, **how)

    monkeypatch.setattr(restore_files, "open_pages", stop)
    report = tmp_path / "report.json"
    assert restore(tmp_path / "in", "-o", tmp_path / "out", "--report", report) == 130
    assert [entry["status"] for entry in report_of(report)["pictures"]] == ["restored"]


def test_existing_results_are_left_alone(restore, tmp_path, capsys):
    folder = tmp_path / "in"
    save(folder / "a.png")
    assert restore(folder, "-o", tmp_path / "out", "--suffix", "x") == 0
    result = tmp_path / "out" / "restored_imgs" / "a_x.png"
    before = result.stat().st_mtime_ns
    save(folder / "b.png")
    report = tmp_path / "report.json"
    words = (folder, "-o", tmp_path / "out", "--suffix", "x", "--skip-existing")
    assert restore(*words, "--report", report) == 0
    assert result.stat().st_mtime_ns == before and (tmp_path / "out/restored_imgs/b_x.png").exists()
    assert "1 were there already" in capsys.readouterr().out
    assert [entry["status"] for entry in report_of(report)["pictures"]] == ["existing", "restored"]
    assert restore(folder, "-o", tmp_path / "faces", "--aligned") == 0
    before = (tmp_path / "faces/restored_faces/a.png").stat().st_mtime_ns
    assert restore(folder, "-o", tmp_path / "faces", "--aligned", "--skip-existing") == 0
    assert (tmp_path / "faces/restored_faces/a.png").stat().st_mtime_ns == before


def test_jobs_give_the_same_files(restore, tmp_path):
    for i in range(6):
        save(tmp_path / "in" / f"{i}.png", scene(90 + i, 150 - i, seed=i))
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    reports = []
    for jobs in (1, 4):
        reports.append(tmp_path / f"{jobs}.json")
        assert restore(tmp_path / "in", "-o", tmp_path / f"out{jobs}", "-j", jobs, "--report", reports[-1]) == 1
    names = files_in(tmp_path / "out1")
    assert names == files_in(tmp_path / "out4") and len(names) == 5 * 10
    for name in names:
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out4" / name).read_bytes()
    first, second = ([entry["input"]["path"] for entry in report_of(path)["pictures"]] for path in reports)
    assert first == second


def test_jobs_work_at_the_same_time(restore, tmp_path, monkeypatch):
    """Both threads have to be inside before either goes on."""
    meeting, load = threading.Barrier(2, timeout=20), restore_files.open_pages

    def load_together(path, **how):
        meeting.wait()
        return load(path, **how)

    monkeypatch.setattr(restore_files, "open_pages", load_together)
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png")
    assert restore(tmp_path / "in", "-o", tmp_path / "out", "--jobs", "2", "--no-faces") == 0


def test_background_upsampler_from_a_file(restore, tmp_path):
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    checkpoint = tmp_path / "RealESRGAN_x2plus.pth"
    torch.save({"params_ema": ESRGAN(in_nc=12, num_filters=8, num_blocks=1, scale=4).state_dict()}, checkpoint)
    picture = save(tmp_path / "a.png")
    words = [picture, "-s", "2", "--no-faces", "--bg-upsampler"]
    assert restore(*words, checkpoint, "--bg-tile", "64", "-o", tmp_path / "out") == 0
    assert restore(*words, "none", "-o", tmp_path / "plain") == 0
    enlarged, plain = (load_picture(tmp_path / name / "restored_imgs" / "a.png").rgb for name in ("out", "plain"))
    assert enlarged.shape == plain.shape == (240, 320, 3) and (enlarged != plain).mean() > 0.9


def test_mask_colors_and_grain_reach_the_restorer(weights, tmp_path, monkeypatch):
    words = "--mask parsenet --no-color-lock --grain 0.2 --max-face-size 900 --min-face-size 9 --dtype bfloat16"
    picture, out = str(save(tmp_path / "a.png")), str(tmp_path / "out")
    seen = restorer_options(monkeypatch, picture, "-o", out, *words.split())
    wanted = {"mask": "parsenet", "color_lock": False, "grain": 0.2, "max_face_size": 900, "min_face_size": 9}
    assert {name: seen[name] for name in wanted} == wanted and seen["dtype"] == "bfloat16"


def test_memory_of_the_gpu_that_is_too_small_skips_the_picture(restore, tmp_path, monkeypatch, capsys):
    def full(*args, **options):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("memgan.restoration.pipeline.restore_crops", full)
    assert restore(save(tmp_path / "a.png"), "-o", tmp_path / "out") == 1
    assert "--device cpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--jobs", "-1"], "--jobs"),
        (["--face-index", "0", "--aligned"], "--face-index and --aligned"),
        (["--face-index", "0", "--only-center-face"], "--only-center-face"),
        (["--bg-upsampler", "waifu"], "waifu"),
        (["--grain", "2"], "grain"),
        (["--dtype", "float16"], "float16"),
        (["--half", "--dtype", "bfloat16"], "contradict"),
        (["--max-face-size", "-1"], "max_face_size"),
    ],
)
def test_words_that_cannot_be_met(words, named, weights, tmp_path, capsys):
    picture = save(tmp_path / "a.png")
    words = ["restore", str(picture), "-o", str(tmp_path / "out"), "--weights", str(weights), "--device", "cpu", *words]
    assert cli.main(words) == 2
    assert named in capsys.readouterr().err
    assert files_in(tmp_path / "out") == []


@pytest.mark.parametrize(
    "words", ["", "-o out", "-i a.png", "a.png -o out --face-index -1", "a.png -o out --face-index x"]
)
def test_words_that_are_wrong(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["restore", *words.split()])
    assert stop.value.code == 2 and "see `memgan restore --help`" in capsys.readouterr().err
    assert files_in(tmp_path) == []
