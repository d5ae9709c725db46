"""The ablation of Table 2, with a tiny network and a few steps."""

import json
import signal
from pathlib import Path

import pytest
import torch
from tiny import register_tiny, settings, write_faces

from memgan.apps.cli.main import main
from memgan.errors import ConfigError
from memgan.evaluation import choose_metrics
from memgan.hub import weight_file
from memgan.training import ablation
from memgan.training.ablation import CASES, CaseResult, ablate, ablation_table
from memgan.training.step import Trainer


@pytest.mark.slow
def test_the_command_trains_all_cases_and_prints_them_beside_the_paper_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register_tiny(monkeypatch)
    faces, out = write_faces(tmp_path / "faces"), tmp_path / "ablation"
    command = (
        f"ablate --recipe memgan-512 --faces {faces} --test {faces} -o {out} --set preset=tiny run.steps=2 "
        "run.batch_size=2 losses.perceptual=0 losses.adversarial=0 "
        "optimizer.learning_rate=1e-3 --seeds 0,1 --limit 2 --metrics psnr,ssim"
    ).split()
    own = ["--case", "cooler:memory_temperature=0.1"]
    cases = [part for name in CASES for part in ("--case", name)]
    assert main([*command, *cases, *own]) == 0
    report = json.loads((out / "ablation.json").read_text("utf-8"))
    assert [case["name"] for case in report["cases"]] == [*CASES, "cooler"]
    assert all(set(case["runs"]) == {"0", "1"} for case in report["cases"])
    assert report["num_faces"] == 2 and report["input"]["psnr"] > 0
    text = capsys.readouterr().out
    assert "| Case 2 |" in text and "23.95" in text and "±" in text
    assert (out / "ablation.md").read_text("utf-8").strip() in text
    configs = {name: read_config(out, name) for name in ("case-1", "case-2", "case-5", "cooler")}
    assert not (configs["case-1"].use_memory or configs["case-1"].use_affine or configs["case-1"].use_blend)
    assert not configs["case-2"].use_memory and configs["case-2"].use_affine
    assert configs["case-5"].use_memory and configs["cooler"].memory_temperature == 0.1

    # Finished runs are kept: nothing is trained when the same is asked for again.
    monkeypatch.setattr(ablation, "train", lambda *_, **__: pytest.fail("trained again"))
    assert main([*command, *cases, *own]) == 0
    assert main([*command, *own, "--set", "run.batch_size=3"]) == 2
    assert "other settings" in capsys.readouterr().err


def read_config(out: Path, name: str):
    return weight_file.read(out / f"{name}-seed-0" / "memgan.safetensors").config


def test_runs_differ_by_seed_and_case_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    plans = []
    monkeypatch.setattr(ablation, "train", lambda plan, *_, **__: plans.append(plan) or pytest.skip("far enough"))
    base = settings({"architecture.memory_max_slots": 4})
    with pytest.raises(pytest.skip.Exception):
        ablate(base, [], None, [], tmp_path, seeds=[3], cases={"Case 3": CASES["Case 3"]})
    assert plans[0].run.seed == 3 and plans[0].architecture == {"memory_max_slots": 4, "use_affine": False}
    assert plans[0].optimizer == base.optimizer


def test_an_interrupted_run_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    config, faces = settings({"losses.adversarial": 0.0, "run.steps": 3}), [write_faces(tmp_path / "faces")]
    options = {"seeds": [0], "cases": {"Case 5": {}}, "limit": 1, "metrics": choose_metrics(["psnr"])}
    step, taken = Trainer.step, []

    def interrupted(self: Trainer, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        taken.append(self.step_index)
        if len(taken) == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self, *batch)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ablate(config, faces, None, faces, tmp_path / "out", **options)
    with pytest.raises(ConfigError, match=r"other settings \(run.batch_size\)"):
        ablate(config.changed({"run.batch_size": 3}), faces, None, faces, tmp_path / "out", **options)
    ablate(config, faces, None, faces, tmp_path / "out", **options)
    assert taken == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "one"], "whole numbers"),
        (["--seeds", "1,1"], "no seed twice"),
        (["--case", "Case 9"], "none of Case 1"),
        (["--case", "x:use_memory=perhaps"], "use_memory"),
    ],
)
def test_wrong_arguments_are_explained_before_any_training(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    register_tiny(monkeypatch)
    monkeypatch.setattr(ablation, "train", lambda *_, **__: pytest.fail("trained"))
    base = [
        "ablate",
        "--recipe",
        "memgan-512",
        "--set",
        "preset=tiny",
        "--test",
        str(tmp_path),
        "-o",
        str(tmp_path / "out"),
        "--metrics",
        "psnr",
    ]
    assert main([*base, *options]) == 2
    assert message in capsys.readouterr().err


def test_the_table_gives_mean_and_spread() -> None:
    results = [
        CaseResult("Case 2", {"use_memory": False}, 1_500_000, {0: {"psnr": 20.0}, 1: {"psnr": 22.0}}),
        CaseResult("own", {}, 1_000_000, {0: {"psnr": 21.5}}),
    ]
    lines = ablation_table(results).splitlines()
    assert "1.50 M | 21 ± 1.4 | 17.22 | 23.95" in lines[2]
    assert lines[3].startswith("| own | 1.00 M | 21.5 |")
    assert choose_metrics(["psnr"]).names == ["psnr"]
