"""Contact sheets: where pictures and captions are, and the color map."""

from pathlib import Path

import pytest
import torch

from memgan.errors import ShapeError
from memgan.evaluation import write_contact_sheet
from memgan.evaluation.sheets import heat
from memgan.image import load_picture


def test_contact_sheet(tmp_path: Path) -> None:
    black, gray = torch.full((3, 20, 30), -1.0), torch.zeros(3, 20, 30)
    write_contact_sheet([(black, gray, black), (gray, gray, gray)], tmp_path / "sheet.png", gap_px=2)
    sheet = load_picture(tmp_path / "sheet.png").rgb
    assert sheet.shape == (42, 94, 3)
    assert sheet[:20, :30].max() == 0 and sheet[20:22].min() == 255 and (sheet[22:, 64:] == 128).all()
    with pytest.raises(ShapeError, match="equal"):
        write_contact_sheet([(black, gray), (gray,)], tmp_path / "no.png")
    with pytest.raises(ShapeError, match="equal"):
        write_contact_sheet([], tmp_path / "no.png")
    with pytest.raises(ShapeError, match="one for each"):
        write_contact_sheet([(black, gray)], tmp_path / "no.png", captions=[["a"]])
    assert not (tmp_path / "no.png").exists()


def test_captions_stand_above_their_pictures(tmp_path: Path) -> None:
    gray = torch.zeros(3, 20, 60)
    write_contact_sheet([(gray, gray)], tmp_path / "sheet.png", captions=[["Größe", ""]], gap_px=2)
    sheet = load_picture(tmp_path / "sheet.png").rgb
    assert sheet.shape == (36, 122, 3)
    assert (sheet[16:, :60] == 128).all() and (sheet[16:, 62:] == 128).all()
    assert sheet[:16, :60].min() == 0 and sheet[:16, 60:].min() == 255


def test_heat_gets_brighter() -> None:
    colors = heat(torch.linspace(0, 1, 9)[None])
    assert colors.shape == (3, 1, 9) and colors.min() >= -1 and colors.max() <= 1
    brightness = torch.tensor([0.299, 0.587, 0.114]) @ colors[:, 0]
    assert (brightness.diff() > 0).all()
    assert torch.equal(heat(torch.tensor([[-1.0, 2.0]])), colors[:, :, [0, -1]])
