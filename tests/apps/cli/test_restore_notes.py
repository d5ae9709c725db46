"""``memgan restore`` and what photographs carry: notes, quality, dates, the real kind of a file."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeDetector, face_at, scene
from PIL import Image
from tiny import save_tiny_weights

from memgan.apps.cli import main as cli
from memgan.image import Picture, decode_picture, load_picture, save_picture
from memgan.image.notes.xmp import DIGITAL_SOURCE_TYPE


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def restore(weights, monkeypatch):
    """The command, with a detector that finds one face in everything."""
    detector = FakeDetector(face_at(60, 60))
    monkeypatch.setattr("memgan.restoration.restorer.create_detector", lambda name, **options: detector)
    return lambda *words: cli.main(["restore", "--weights", str(weights), "--device", "cpu", *map(str, words)])


def photo(path: Path, **options: object) -> Path:
    exif = Image.Exif()
    exif[0x010E], exif[0x8769] = "grandmother", {0x9003: "1987:05:03 12:00:00", 0xA005: {1: "R03"}}
    Image.fromarray(scene()).save(path, exif=exif, dpi=(300, 300), **options)
    os.utime(path, (500_000_000, 500_000_000))
    return path


def test_results_carry_notes_quality_date_and_provenance(restore, tmp_path):
    path = photo(tmp_path / "a.jpg", quality=85, subsampling=2)
    assert restore(path, "-o", tmp_path / "out", "--keep-date") == 0
    result = tmp_path / "out" / "restored_imgs" / "a.jpg"
    picture = load_picture(result)
    assert picture.exif == load_picture(path).exif and picture.notes.dpi == (300, 300)
    assert (picture.origin.quality, picture.origin.subsampling) == (85, "4:2:0")
    assert DIGITAL_SOURCE_TYPE in picture.notes.xmp.decode()
    assert result.stat().st_mtime == 500_000_000
    for folder in ("restored_faces", "cropped_faces", "cmp"):
        (face,) = (tmp_path / "out" / folder).iterdir()
        alone = load_picture(face)
        assert alone.exif is None and alone.notes.xmp is None and alone.notes.dpi is None
        assert face.stat().st_mtime > 500_000_000


def test_provenance_can_be_left_out_and_quality_chosen(restore, tmp_path):
    path = photo(tmp_path / "a.jpg", quality=85)
    assert restore(path, "-o", tmp_path / "out", "--no-provenance", "--quality", 40) == 0
    result = tmp_path / "out" / "restored_imgs" / "a.jpg"
    assert load_picture(result).notes.xmp is None and load_picture(result).origin.quality == 40
    assert result.stat().st_mtime > 500_000_000


@pytest.mark.parametrize("quality", ["0", "101"])
def test_a_wrong_quality_is_refused(restore, tmp_path, quality, capsys):
    assert restore(tmp_path, "-o", tmp_path / "out", "--quality", quality) == 2
    assert f"quality is {quality}; allowed: from 1 to 100" in capsys.readouterr().err


def test_a_png_file_that_is_called_jpg_loses_nothing(restore, tmp_path):
    deep = scene().astype(np.uint16) * 257 + 3
    picture = Picture(deep, alpha=deep[:, :, 0].copy())
    save_picture(picture, tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert restore(tmp_path / "a.jpg", "-o", tmp_path / "out", "--report", tmp_path / "report.json") == 0
    result = load_picture(tmp_path / "out" / "restored_imgs" / "a.jpg.png")
    assert result.peak == 65535 and result.alpha is not None
    assert "is no .jpg file" in json.dumps(json.loads((tmp_path / "report.json").read_text("utf-8")))


def test_what_another_type_cannot_hold_is_said(restore, tmp_path):
    path = photo(tmp_path / "a.jpg")
    report = tmp_path / "report.json"
    assert restore(path, "-o", tmp_path / "out", "--ext", "bmp", "--report", report) == 0
    text = report.read_text("utf-8")
    assert "BMP holds no EXIF: it is dropped" in text and "does not say that faces were restored" in text
    back = decode_picture((tmp_path / "out" / "restored_imgs" / "a.jpg.bmp").read_bytes())
    assert back.notes.dpi == pytest.approx((300, 300), rel=1e-4)


def test_webp_without_loss_stays_so(restore, tmp_path):
    Image.fromarray(scene()).save(tmp_path / "a.webp", lossless=True)
    assert restore(tmp_path / "a.webp", "-o", tmp_path / "out") == 0
    result = (tmp_path / "out" / "restored_imgs" / "a.webp").read_bytes()
    assert decode_picture(result).origin.is_lossless
    with Image.open(io.BytesIO(result)) as image:
        far = np.abs(np.asarray(image)[:, -20:].astype(int) - scene()[:, -20:])
    assert far.max() == 0  # far from the face
