"""``memgan evaluate`` on small faces and a small network."""

import json
from pathlib import Path

import pytest
import torch
from tiny import TINY_MOBILE as TINY
from tiny import write_faces

from memgan import hub
from memgan.apps.cli.main import main
from memgan.hub import weight_file
from memgan.image import load_picture
from memgan.network.model import build_memgan
from memgan.network.reliability import ReliabilityConfig, ReliabilityNet

QUICK = "--metrics psnr,ssim --device cpu"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return weight_file.save(tmp_path / "tiny.safetensors", TINY, build_memgan(TINY).state_dict())


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "faces", count=3)


def test_table_and_figures(weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "all.json"
    command = f"evaluate {faces} --weights {weights} --json {figures} --device cpu"
    assert main(command.split()) == 0
    first = capsys.readouterr().out
    assert "3 faces" in first and "ublished" not in first and "GFP-GAN" not in first  # nobody asked for them
    for name in ("psnr", "ssim", "st_lpips", "fd_enlite0", "identity"):
        assert name in first
    assert "left out: niqe" in first  # 64 px are too small for it
    report = json.loads(figures.read_text())
    assert report["num_faces"] == 3 and len(report["faces"]) == 3 and report["restorers"] == ["tiny"]
    means = report["means"]
    assert means["tiny"]["psnr"]["mean"] < means["input"]["psnr"]["mean"]  # an untrained network restores nothing
    assert "memory_health" not in report and "published" not in report
    main(command.split())
    assert capsys.readouterr().out == first  # seeded


def test_published_figures_stand_apart(
    weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "all.json"
    command = f"evaluate {faces} --weights {weights} --json {figures} --device cpu --published --metrics"
    assert main([*command.split(), "psnr,st_lpips"]) == 0
    own, _, published = capsys.readouterr().out.partition("\n\n")
    assert "psnr" in own and "24.28" not in own and "GFP-GAN" not in own
    for words in ("CelebA-Test, 2,824 of CelebA-HQ", "other faces", "other metrics than fd_* and st_lpips", "GFP-GAN"):
        assert words in published
    assert "24.28" in published and "0.3487" in published and "13.01" not in published  # FID was not asked for
    report = json.loads(figures.read_text())
    assert report["published"]["table_1"]["rows"]["MemGAN"]["FID"] == 13.01
    assert report["published"]["table_2"]["rows"]["Case 2"]["PSNR"] == 23.95
    assert main([*command.split(), "identity"]) == 0
    assert "publishes no figures of these metrics" in capsys.readouterr().out


def test_seeds(weights: Path, faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for seeds in ("0", "1", "0,1"):
        assert main(f"evaluate {faces} --weights {weights} --seeds {seeds} {QUICK}".split()) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] != outputs[1]
    assert "±" in outputs[2] and "±" not in outputs[0]


def test_other_ranges(weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "all.json"
    means = []
    for options in (
        "",
        "--noise-sigma 60,80",
        "--noise-sigma 0,0 --blur-sigma 0,0 --downscale 1,1 --jpeg-quality 95,95",
    ):
        command = f"evaluate {faces} --weights {weights} --json {figures} {options} {QUICK}"
        assert main(command.split()) == 0
        report = json.loads(figures.read_text())
        means.append(report["means"]["input"]["psnr"]["mean"])
    assert means[1] < means[0] - 1 and means[2] > means[0] + 3
    assert report["degradation"]["jpeg_quality"] == [95, 95] and report["degradation"]["downscale"] == [1, 1]
    capsys.readouterr()
    for wrong, said in (
        ("--noise-sigma 5", "--noise-sigma is '5'; give two numbers"),
        ("--downscale 0.5,2", "downscale is (0.5, 2.0); allowed"),
        ("--jpeg-quality 60.5,90", "must be integers"),
        ("--jpeg-quality nan,inf", "allowed"),
    ):
        assert main(f"evaluate {faces} --weights {weights} {wrong}".split()) == 2
        assert said in capsys.readouterr().err
    assert main(f"evaluate --real {faces} --noise-sigma 1,2".split()) == 2
    assert "degraded already" in capsys.readouterr().err


def test_sheets_and_health(weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, memory, figures = tmp_path / "sheet.png", tmp_path / "memory.png", tmp_path / "all.json"
    options = (
        f"--sheet {sheet} --sheet-rows 2 --memory-sheet {memory} --memory-health --memory-faces 2 --json {figures}"
    )
    assert main(f"evaluate {faces} --weights {weights} --seeds 0,1 {options} {QUICK}".split()) == 0
    assert load_picture(sheet).rgb.shape == (2 * (16 + 64 + 4) - 4, 3 * 68 - 4, 3)
    assert load_picture(memory).rgb.shape == (9 * (16 + 256 + 4) - 4, (1 + len(TINY.fused_scales)) * 260 - 4, 3)
    health = json.loads(figures.read_text())["memory_health"]
    assert health["num_faces"] == 2 and [bank["scale"] for bank in health["banks"]] == list(TINY.fused_scales)
    assert "entropy" in capsys.readouterr().out


def test_other_restorers_and_weights(
    weights: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "others.py").write_text("def gray(x):\n    return x.mean(1, keepdim=True).expand_as(x)\n")
    monkeypatch.chdir(tmp_path)
    more = f"--weights again={weights} --restorer gfpgan=others:gray --restorer others:gray --json all.json"
    assert main(f"evaluate {faces} --weights {weights} {more} {QUICK}".split()) == 0
    means = json.loads((tmp_path / "all.json").read_text())["means"]
    assert list(means) == ["input", "tiny", "again", "gfpgan", "gray"]
    assert means["tiny"] == means["again"] and means["gray"] == means["gfpgan"] != means["input"]
    head = capsys.readouterr().out.splitlines()[1]
    assert all(name in head for name in means)


def test_real_faces(weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = write_faces(tmp_path / "good", count=4)
    command = f"evaluate --real {faces} --reference {reference} --weights {weights} --metrics fd_enlite0 --device cpu"
    assert main([*command.split(), "--sheet", str(tmp_path / "sheet.png"), "--published"]) == 0
    out = capsys.readouterr().out
    assert "fd_enlite0" in out and "4 reference pictures" in out and "WebPhoto" in out and "psnr" not in out
    assert load_picture(tmp_path / "sheet.png").rgb.shape[1] == 2 * 68 - 4  # input and restored


def test_sets_are_compared_with_other_people(
    weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others, figures = write_faces(tmp_path / "others", count=5), tmp_path / "all.json"
    command = f"evaluate {faces} --reference {others} --weights {weights} --metrics psnr,kd_enlite0 --device cpu"
    assert main([*command.split(), "--json", str(figures)]) == 0
    out = capsys.readouterr().out
    assert "kd_enlite0_to_others, above the truth's: tiny / input = " in out
    assert "kd_enlite0 to the reference faces instead of the truths" in out
    report = json.loads(figures.read_text())
    assert report["metrics"]["kd_enlite0_to_others"]["distance"] == "kernel"
    assert "kd_enlite0_to_others" in report["share_above_truth"]["tiny"]


def test_regions(weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "all.json"
    command = f"evaluate {faces} --weights {weights} --metrics psnr,fd_alex --region whole,face,around --device cpu"
    assert main([*command.split(), "--json", str(figures)]) == 0
    out = capsys.readouterr().out
    assert "psnr_face: psnr inside an oval around the face" in out
    assert "fd_alex_around: fd_alex with the truth inside an oval around the face" in out
    report = json.loads(figures.read_text())
    assert list(report["metrics"]) == ["psnr", "psnr_face", "psnr_around", "fd_alex", "fd_alex_face", "fd_alex_around"]
    means = [{name: spread["mean"] for name, spread in report["means"][one].items()} for one in ("input", "tiny")]
    for found in means:
        assert found["psnr_face"] != found["psnr"] != found["psnr_around"]
        assert 0 < found["fd_alex_face"] < found["fd_alex"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("{nothing}", "nothing"),
        ("", "--real DIR"),
        ("{faces} --real {faces}", "--real DIR"),
        ("{faces} --reference {nothing}", "nothing"),
        ("--real {faces} --metrics psnr", "need a truth"),
        ("--real {faces} --metrics fd_alex --region face", "need a truth"),
        ("{faces} --region mouth", "whole, face, around"),
        ("{faces} --sheet-rows 0", "--sheet-rows is 0"),
        ("{faces} --memory-faces 0", "--memory-faces is 0"),
        ("{faces} --seeds 1,x", "1,x"),
        ("{faces} --seeds 1,1", "none twice"),
        ("{faces} --limit 0", "limit is 0"),
        ("{faces} --batch-size 0", "batch_size is 0"),
        ("{faces} --metrics psnr,fd", "fd_enlite0"),
        ("{faces} --metrics niqe", "192"),
        ("{faces} --restorer half", "module:callable"),
        ("{faces} --restorer tiny=math:sqrt", "Two restorers"),
        ("{faces} --weights {weights}", "Two of the weights"),
        ("{faces} --weights other={nothing}", "nothing"),
        ("{faces} --sheet {nothing}/a.png", "no folder"),
        ("{faces} --json {nothing}/a.json", "no folder"),
    ],
)
def test_wrong_options_are_explained(
    options: str, named: str, weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options.format(faces=faces, weights=weights, nothing=tmp_path / "nothing")
    if "--metrics" not in given:
        given += " --metrics psnr"
    assert main(f"evaluate {given} --weights {weights} --device cpu".split()) == 2
    assert named in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".png", ".json")]


@pytest.mark.parametrize("words", ["", "--skip-sharp"])
def test_clean_faces(
    weights: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    figures = tmp_path / "all.json"
    assert main(f"evaluate {faces} --clean {words} --weights {weights} --json {figures} {QUICK}".split()) == 0
    assert "JPEG 90" in capsys.readouterr().out
    report = json.loads(figures.read_text())
    assert report["skip_sharp"] is bool(words) and [row["jpeg_quality"] for row in report["rows"]] == [None, 95, 90, 75]
    assert {row["num_unchanged"] for row in report["rows"]} == {0}  # faces of 64 px are not judged
    assert all(row["scores"]["psnr"] < 40 for row in report["rows"])
    assert main(f"evaluate {faces} --clean --weights {weights} --blur-sigma 1,2 {QUICK}".split()) == 2
    assert "leave out" in capsys.readouterr().err


@pytest.fixture
def faithful(weights: Path, tmp_path: Path) -> Path:
    """The same network, whose picture is brighter."""
    checkpoint = weight_file.read(weights)
    torch.manual_seed(1)
    state = {
        name: tensor if name.startswith("memory.") else tensor + 0.02 * torch.randn_like(tensor)
        for name, tensor in checkpoint.state.items()
    }
    return weight_file.save(tmp_path / "faithful.safetensors", checkpoint.config, state)


def test_settings_of_the_dial(
    weights: Path, faithful: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    figures, plot = tmp_path / "all.json", tmp_path / "curve.svg"
    dial = f"--weights {weights} --faithful {faithful} --fidelity 0,0.5,1 --plot {plot}"
    assert main(f"evaluate {faces} {dial} --json {figures} {QUICK}".split()) == 0
    assert "tiny 0.5" in capsys.readouterr().out
    dialed = json.loads(figures.read_text())
    assert dialed["restorers"] == ["tiny 0", "tiny 0.5", "tiny 1"]
    assert plot.read_text().count("<svg") == 1
    for path, setting in ((weights, 0), (faithful, 1)):
        assert main(f"evaluate {faces} --weights {path} --json {figures} {QUICK}".split()) == 0
        assert json.loads(figures.read_text())["means"]["tiny"] == dialed["means"][f"tiny {setting}"]
    psnr = [dialed["means"][name]["psnr"]["mean"] for name in dialed["restorers"]]
    assert len(set(psnr)) == 3


def test_alternatives_to_the_dial(weights: Path, faithful: Path, faces: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures, plot = tmp_path / "all.json", tmp_path / "curve.svg"
    dial = f"--weights {weights} --faithful {faithful} --fidelity 0,0.5,1"
    assert main(f"evaluate {faces} {dial} --alternatives --plot {plot} --json {figures} {QUICK}".split()) == 0
    means = json.loads(figures.read_text())["means"]
    assert len(means) == 10  # three curves, and the input
    for end in (0, 1):
        assert means[f"tiny blend {end}"] == means[f"tiny {end}"]
    assert means["tiny blend 0.5"] != means["tiny 0.5"]
    assert main(f"evaluate {faces} {dial} --self-ensemble --json {figures} {QUICK}".split()) == 0
    mirrored = json.loads(figures.read_text())["means"]
    assert all(means[f"tiny {setting} mirror"] == mirrored[f"tiny {setting}"] for setting in ("0", "0.5", "1"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--fidelity 0,1", "no registered faithful partner"),
        ("--fidelity 0,1.5 --faithful {0}", "--fidelity is 1.5"),
        ("--fidelity much --faithful {0}", "--fidelity is 'much'"),
        ("--faithful {0}", "for --fidelity"),
        ("--plot {1}/a.png", "for --fidelity"),
        ("--alternatives", "for --fidelity"),
        ("--alternatives --fidelity 0,0.5 --faithful {0}", "needs 0 and 1"),
        ("--alternatives --fidelity 0,1 --faithful {0} --self-ensemble", "no --self-ensemble"),
        ("--plot {1}/missing/a.png --fidelity 0 --faithful {0}", "no folder"),
        ("--plot {1}/a.png --fidelity 0 --faithful {0} --clean", "leave --real and --clean out"),
        ("--plot {1}/a.png --fidelity 0 --faithful {0} --metrics ssim", "needs psnr"),
    ],
)
def test_dials_that_cannot_be_measured(
    words: str, named: str, weights: Path, faithful: Path, faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    words = words.format(faithful, faithful.parent)
    assert main(f"evaluate {faces} --weights {weights} {QUICK} {words}".split()) == 2
    assert named in capsys.readouterr().err


@pytest.fixture
def estimator(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = ReliabilityNet(ReliabilityConfig(name="tiny", image_size=64, stem_channels=4, channels=8))
    return hub.save_reliability(tmp_path / "estimator.safetensors", network.config, network.state_dict(), {})


def test_estimates_of_errors(
    weights: Path, faithful: Path, estimator: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    figures, plot = tmp_path / "all.json", tmp_path / "tenths.svg"
    command = f"evaluate {faces} --weights {weights} --reliability --reliability-weights {estimator} --device cpu"
    dial = f"--faithful {faithful} --fidelity 0,1 --seeds 0,1 --plot {plot} --json {figures}"
    assert main(f"{command} {dial}".split()) == 0
    table = capsys.readouterr().out
    assert table.split()[:3] == ["fidelity", "0", "1"] and "6, 3" in table
    both = json.loads(figures.read_text())
    assert list(both["settings"]) == ["0", "1"] and both["seeds"] == [0, 1] and both["half"] == "all"
    assert both["settings"]["0"]["true_error"] != both["settings"]["1"]["true_error"]
    assert plot.read_text().count("<svg") == 1
    assert main(f"{command} --half odd --aged --blur-sigma 0,1 --json {figures}".split()) == 0
    alone = json.loads(figures.read_text())
    assert alone["settings"]["0"]["num_faces"] == 1 and alone["aged"] is True
    assert alone["degradation"]["blur_sigma"] == [0.0, 0.125]
    main(f"evaluate {faces} --weights {weights} --metrics psnr --region face --seeds 0,1 --json {figures}".split())
    psnr = [face["scores"]["tiny"]["psnr_face"] for face in json.loads(figures.read_text())["faces"]]
    rms = sum(255 * 10 ** (-one / 20) for one in psnr) / len(psnr)
    assert 0.5 * rms < both["settings"]["0"]["true_error"] < rms  # of the same pictures


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--reliability", "has no registered weights that estimate its errors"),
        ("--aged", "are for --reliability"),
        ("--half odd", "are for --reliability"),
        ("--reliability-weights {0}", "are for --reliability"),
        ("--reliability --reliability-weights {0} --metrics psnr --skip-sharp", "leave --metrics, --skip-sharp out"),
        ("--reliability --reliability-weights {0} --weights {1}", "one restorer at a time"),
        ("--reliability --reliability-weights {1}", "tiny.safetensors"),
        ("--reliability --reliability-weights {0} --faithful {1}", "for --fidelity"),
    ],
)
def test_estimates_that_cannot_be_measured(
    words: str, named: str, weights: Path, estimator: Path, faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words.format(estimator, weights)
    assert main(f"evaluate {faces} --weights {weights} --device cpu {words}".split()) == 2
    assert named in capsys.readouterr().err
