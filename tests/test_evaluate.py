"""``memgan evaluate`` on small faces and a small network."""

import json
from pathlib import Path

import pytest
import torch
from training_runs import TINY, write_faces

from memgan import checkpoint as weight_file
from memgan.cli import main
from memgan.image import load_picture
from memgan.network.model import build_memgan


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return weight_file.save(tmp_path / "tiny.safetensors", TINY, build_memgan(TINY).state_dict())


def test_table_sheet_and_figures(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces, sheet, figures = write_faces(tmp_path / "faces", count=3), tmp_path / "sheet.png", tmp_path / "all.json"
    command = f"evaluate {faces} --weights {weights} --sheet {sheet} --sheet-rows 2 --json {figures} --device cpu"
    assert main(command.split()) == 0
    first = capsys.readouterr().out
    assert "3 faces" in first and all(name in first for name in ("psnr", "ssim", "st_lpips"))
    assert load_picture(sheet).rgb.shape == (2 * 64 + 4, 2 * 64 + 4, 3)
    report = json.loads(figures.read_text())
    assert report["num_faces"] == 3 and len(report["faces"]) == 3
    assert report["restored"]["psnr"] < report["degraded"]["psnr"]  # an untrained network restores nothing
    main(command.split())
    assert capsys.readouterr().out == first  # seeded
    main(f"evaluate {faces} --weights {weights} --seed 1 --device cpu".split())
    assert capsys.readouterr().out != first


def test_wrong_options_are_explained(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"evaluate {tmp_path / 'nothing'} --weights {weights}".split()) == 2
    assert "nothing" in capsys.readouterr().err
    faces = write_faces(tmp_path / "faces", count=1)
    assert main(f"evaluate {faces} --weights {weights} --sheet-rows 0".split()) == 2
    assert "sheet-rows" in capsys.readouterr().err
