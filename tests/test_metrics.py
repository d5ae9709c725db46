"""PSNR and SSIM against scikit-image, and the evaluation of a restorer on degraded faces."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from memgan.degradation import Degradation, degrade_one
from memgan.errors import ConfigError, DataError, ShapeError
from memgan.evaluation import evaluate, face_seed, psnr, ssim, standard_metrics, write_contact_sheet
from memgan.image import Picture, load_picture, save_picture, to_tensor

METRICS = {"psnr": psnr, "ssim": ssim}


def pictures(count: int = 2) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 56), indexing="ij")
    return torch.stack([torch.stack([torch.sin((9 + n) * x), torch.cos(7 * y * x), x - y]) for n in range(count)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    (tmp_path / "faces" / "more").mkdir(parents=True)
    for name in ("b.png", "a.png", "more/c.png"):
        small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        save_picture(Picture(np.kron(small, np.ones((8, 8, 1), np.uint8))), tmp_path / "faces" / name)
    return tmp_path / "faces"


@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_equal_to_scikit_image(noise: float) -> None:
    clean = pictures()
    other = (clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    ratios, similarities = psnr(other, clean).tolist(), ssim(other, clean).tolist()
    for row in range(2):
        a, b = (image[row].double().permute(1, 2, 0).numpy() for image in (other, clean))
        assert ratios[row] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=2), abs=1e-3)
        # Its constants take the range as given, its luminance term the values themselves: shift them to start at 0.
        expected = structural_similarity(
            a + 1, b + 1, data_range=2, channel_axis=2, gaussian_weights=True, use_sample_covariance=False
        )
        assert similarities[row] == pytest.approx(expected, abs=2e-5)


def test_best_values_and_directions() -> None:
    clean = pictures(1)
    assert psnr(clean, clean).item() == math.inf and ssim(clean, clean).item() == pytest.approx(1, abs=1e-6)
    assert psnr(clean * 0 + 1, clean * 0 - 1).item() == pytest.approx(0)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    for metric in (psnr, ssim):
        assert metric(clean + 0.05 * noise, clean) > metric(clean + 0.2 * noise, clean)


def test_flat_pictures_are_no_trouble() -> None:
    flat = torch.full((1, 3, 32, 32), 0.7)
    assert ssim(flat, flat).item() == pytest.approx(1, abs=1e-4)


def test_bad_shapes_are_named() -> None:
    clean = pictures(1)
    for metric in (psnr, ssim):
        with pytest.raises(ShapeError, match="needed"):
            metric(clean, clean[..., :-1])
        with pytest.raises(ShapeError, match="needed"):
            metric(clean[0], clean[0])
    with pytest.raises(ShapeError, match="11 px"):
        ssim(clean[..., :10], clean[..., :10])


def test_a_perfect_and_an_idle_restorer(folder: Path) -> None:
    idle = evaluate(lambda degraded: degraded, folder, metrics=METRICS, size_px=48)
    assert [face.name for face in idle.faces] == ["a.png", "b.png", "more/c.png"]
    assert idle.ratio == {"psnr": 1, "ssim": 1}
    assert all(face.degraded == face.restored for face in idle.faces)
    assert idle.degraded["psnr"] == pytest.approx(np.mean([face.degraded["psnr"] for face in idle.faces]))
    assert evaluate(None, folder, metrics=METRICS, size_px=48) == idle
    truth = torch.stack([to_tensor(load_picture(folder / face.name).rgb) for face in idle.faces])
    perfect = evaluate(lambda degraded: truth, folder, metrics=METRICS, size_px=48)
    assert perfect.restored["ssim"] == pytest.approx(1, abs=1e-6) and perfect.restored["psnr"] > 100
    assert perfect.degraded == idle.degraded
    assert json.loads(json.dumps(idle.to_dict()))["num_faces"] == 3
    assert "psnr" in idle.table() and "3 faces" in idle.table()


def test_the_degradation_is_that_of_the_name_and_seed(folder: Path) -> None:
    seen: list[Tensor] = []

    def spy(degraded: Tensor) -> Tensor:
        seen.extend(degraded)
        return degraded

    first = evaluate(spy, folder, metrics=METRICS, size_px=48, batch_size=2)
    face = to_tensor(load_picture(folder / "more" / "c.png").rgb)
    assert torch.equal(seen[2], degrade_one(face, face_seed("c.png", 0)))
    alone = evaluate(spy, folder / "more", metrics=METRICS, size_px=48)
    assert alone.faces[0].degraded == first.faces[2].degraded  # whatever else is evaluated, and in which folder
    assert face_seed("c.png", 1) != face_seed("c.png", 0) != face_seed("b.png", 0)
    assert 0 <= face_seed("c.png", 0) < 2**63
    mild = Degradation((0, 0), (1, 1), (0, 0), (100, 100))
    better = evaluate(spy, folder, metrics=METRICS, size_px=48, settings=mild)
    assert better.degraded["ssim"] > first.degraded["ssim"] + 0.1


def test_limit_progress_and_rounding(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    result = evaluate(
        lambda degraded: degraded + 1e-4,  # less than half an 8-bit level: gone when saved
        folder,
        metrics=METRICS,
        size_px=48,
        limit=2,
        batch_size=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert [face.name for face in result.faces] == ["a.png", "b.png"]
    assert calls == [(1, 2), (2, 2)]
    assert all(face.degraded == face.restored for face in result.faces)


def test_evaluation_names_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    def same(degraded: Tensor) -> Tensor:
        return degraded

    with pytest.raises(ShapeError, match="returned"):
        evaluate(lambda degraded: degraded[..., :24], folder, metrics=METRICS, size_px=48)
    with pytest.raises(ConfigError, match="limit is 0"):
        evaluate(same, folder, metrics=METRICS, limit=0)
    with pytest.raises(DataError, match="No pictures"):
        (tmp_path / "empty").mkdir()
        evaluate(same, tmp_path / "empty", metrics=METRICS)
    save_picture(Picture(np.zeros((32, 48, 3), np.uint8)), folder / "d.png")
    with pytest.raises(DataError, match=r"d\.png is 48 x 32"):
        evaluate(same, folder, metrics=METRICS, size_px=48)


def test_standard_metrics() -> None:
    assert set(standard_metrics(None)) == {"psnr", "ssim"}
    metrics = standard_metrics("alex", "random")
    assert set(metrics) == {"psnr", "ssim", "st_lpips"}
    assert all(metric(pictures(), pictures()).shape == (2,) for metric in metrics.values())


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
    assert not (tmp_path / "no.png").exists()
