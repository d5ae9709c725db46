"""Old photographs: what is asked for, what was done to them, and that a seed says which."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import write_faces

from memgan.degradation import Aging, Degradation, age_seeded, thumbnail
from memgan.errors import ConfigError, ImageError, ShapeError
from memgan.training.config import DataSettings
from memgan.training.data.clean_faces import FaceSet
from memgan.training.data.stream import FaceStream

NOTHING = Aging(gray=0, faded=0, motion=0, halftone=0, thumbnail=0, grain=0, scratches=0, recompressed=0)
CLEAR = Degradation(blur_sigma=(0, 0), downscale=(1, 1), noise_sigma=(0, 0), jpeg_quality=(100, 100))


def faces(count: int = 2, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    small = torch.rand(count, 3, 8, 8, generator=generator) * 1.6 - 0.8
    return torch.nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(-1, 1)


def aged(image: torch.Tensor, seed: int = 0, **chances: object) -> tuple[torch.Tensor, torch.Tensor]:
    settings = dataclasses.replace(NOTHING, **chances)
    return age_seeded(image, range(seed, seed + len(image)), settings=settings, degradation=CLEAR)


def test_a_seed_fixes_both_pictures_whatever_else_is_in_the_batch() -> None:
    clean = faces(3)
    wanted, degraded = age_seeded(clean, [5, 6, 7])
    again = age_seeded(clean[2:], [7])
    assert torch.equal(wanted[2:], again[0]) and torch.equal(degraded[2:], again[1])
    assert not torch.equal(degraded[2:], age_seeded(clean[2:], [8])[1])
    assert wanted.dtype == degraded.dtype == clean.dtype
    levels = (degraded + 1) * 127.5
    assert (levels - levels.round()).abs().max() < 1e-3 and degraded.abs().max() <= 1


def test_nothing_happens_without_chances() -> None:
    clean = faces()
    wanted, degraded = aged(clean)
    assert torch.equal(wanted, clean)
    assert (degraded - clean).abs().mean() < 0.02  # JPEG at quality 100


def test_no_colors_and_faded_ones_are_kept() -> None:
    clean = faces(8)
    gray, degraded = aged(clean, gray=1.0)
    toned = (gray[:, 0] - gray[:, 2]).amax((1, 2)) > 0.01
    assert 0 < toned.sum() < 8  # some are brown
    assert (gray[~toned][:, 0] - gray[~toned][:, 2]).abs().max() < 1e-6
    assert (degraded - gray).abs().mean() < 0.02  # the damaged one is as gray
    faded, degraded = aged(clean, faded=1.0)
    assert (faded.std((1, 2, 3)) < clean.std((1, 2, 3))).all()
    assert (degraded - faded).abs().mean() < 0.02


@pytest.mark.parametrize("damage", ["motion", "halftone", "thumbnail", "grain", "scratches", "recompressed"])
def test_damage_is_in_the_degraded_picture_only(damage: str) -> None:
    clean = faces(4, 128)
    wanted, degraded = aged(clean, **{damage: 1.0})
    assert torch.equal(wanted, clean)
    _, spared = aged(clean)
    assert ((degraded - spared).abs().amax((1, 2, 3)) > 0.02).all()
    assert (degraded - clean).abs().mean() < 0.3


def test_motion_blurs_along_a_line_and_keeps_the_light() -> None:
    point = torch.full((1, 3, 129, 129), -1.0)
    point[..., 64, 64] = 1.0
    _, moved = aged(point, motion=1.0, motion_px=(80.0, 80.0))  # 20 px of 129
    light = (moved[0].mean(0) + 1) / 2
    ys, xs = (light > 0.5 * light.max()).nonzero(as_tuple=True)
    values = torch.linalg.eigvalsh(torch.stack([xs.double(), ys.double()]).cov())
    assert values[1] > 20 * values[0].clamp_min(0.1)
    flat = torch.full((1, 3, 64, 64), 0.25)
    assert (aged(flat, motion=1.0)[1] - 0.25).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_motion_is_alike_in_every_dtype(dtype: torch.dtype) -> None:
    clean = faces(1, 64).to(dtype)
    expected, moved = (aged(given, motion=1.0)[1] for given in (clean.float(), clean))
    assert moved.dtype == dtype and (moved.float() - expected).abs().mean() < 0.02


def test_a_print_has_dots_at_one_distance_and_keeps_its_tone() -> None:
    flat = torch.zeros(1, 3, 128, 128)
    settings = {"halftone": 1.0, "halftone_px": (24.0, 24.0), "halftone_strength": (0.3, 0.3)}  # 6 px of 128
    _, printed = aged(flat, **settings)
    assert printed.mean().abs() < 0.01 and 0.5 < printed.abs().max() < 0.62
    assert (printed[:, 0] - printed[:, 1]).abs().max() < 0.03  # black and white: one screen
    spectrum = torch.fft.fft2(printed[0, 0]).abs()
    spectrum[0, 0] = 0
    peak = int(spectrum.argmax())
    frequencies = torch.fft.fftfreq(128)
    distance = 1 / torch.hypot(frequencies[peak // 128], frequencies[peak % 128])
    assert distance == pytest.approx(6 / 2**0.5, rel=0.05)  # rows of dots lie across
    color = flat + torch.tensor([0.3, 0.0, -0.3]).view(3, 1, 1)
    dots = aged(color, **settings)[1] - color
    assert (dots[:, 0] - dots[:, 1]).abs().mean() > 0.1  # a screen for each ink
    white = aged(torch.ones(1, 3, 64, 64), **settings)[1]
    assert (white - 1).abs().max() < 0.02  # paper takes no ink


def test_a_small_copy_has_halos_no_detail_and_keeps_its_tone() -> None:
    edge = torch.full((1, 3, 256, 256), -0.5)
    edge[..., 128:] = 0.5
    halos = []
    for amount in (0.0, 2.0):
        settings = {"thumbnail_factor": (8.0, 8.0), "thumbnail_sharpening": (amount, amount)}  # 4 px become one
        _, copy = aged(edge, thumbnail=1.0, **settings)
        halos.append(float((copy[0, :, 16:-16, 16:-16].mean((0, 1))).max()) - 0.5)
        assert copy[..., :96].mean() == pytest.approx(-0.5, abs=0.02) == copy[..., 160:].mean() - 1
    assert 0.01 < halos[0] < 0.15 < halos[1] < 0.5  # cubic interpolation overshoots, sharpening more so
    fine = torch.ones(256).index_fill(0, torch.arange(0, 256, 2), -1.0).expand(1, 3, 256, 256) * 0.5
    _, copy = aged(fine, thumbnail=1.0, thumbnail_factor=(8.0, 8.0), thumbnail_sharpening=(0.0, 0.0))
    assert copy[..., 16:-16].abs().max() < 0.05
    small = torch.full((1, 3, 8, 8), 0.25)
    assert (aged(small, thumbnail=1.0, thumbnail_factor=(64.0, 64.0))[1] - 0.25).abs().max() < 0.02


def test_noise_of_a_small_copy_is_sharpened_with_it() -> None:
    flat = torch.full((3, 128, 128), 127.0)

    def spread(sharpening: float) -> float:
        settings = {"factor": 2.0, "noise_sigma": 4.0, "sharpening_sigma": 1.0, "jpeg_quality": 100}
        return float(thumbnail(flat, torch.Generator().manual_seed(1), "real", sharpening=sharpening, **settings).std())

    assert 1 < spread(0.0) < 4 and spread(2.0) > 1.5 * spread(0.0)


def test_scratches_are_thin() -> None:
    flat = torch.zeros(1, 3, 128, 128)
    _, scratched = aged(flat, scratches=1.0, scratch_count=(1, 1))
    touched = ((scratched - scratched.median()).abs().amax(1) > 0.1).float().mean()
    assert 0 < touched < 0.1


def test_bad_settings_and_pictures_are_refused() -> None:
    for changes in (
        {"gray": 1.5},
        {"motion_px": (9.0, 3.0)},
        {"halftone_px": (1.0, 9.0)},
        {"thumbnail_factor": (0.5, 2.0)},
        {"scratch_count": (0, 2)},
    ):
        with pytest.raises(ConfigError, match=next(iter(changes))):
            Aging(**changes)
    with pytest.raises(ShapeError, match="seeds"):
        age_seeded(faces(), [1])
    with pytest.raises(ImageError, match="floating"):
        age_seeded(faces().to(torch.uint8), [1, 2])


def test_a_share_of_the_faces_is_degraded_mildly(tmp_path: Path) -> None:
    photographs = FaceSet([write_faces(tmp_path)], size_px=64)
    cpu = torch.device("cpu")

    def differences(share: float) -> list[float]:
        batch = FaceStream(photographs, cpu, 1, DataSettings(mild=share)).batch(24)
        assert batch.clean.shape == batch.degraded.shape == (24, 3, 64, 64)
        return (batch.clean - batch.degraded).abs().mean((1, 2, 3)).tolist()

    none, all_of_them = differences(0.0), differences(1.0)
    some = differences(0.5)
    assert sum(all_of_them) < 0.6 * sum(none) and all(m < n for m, n in zip(all_of_them, none, strict=True))
    assert {m in all_of_them for m in some} == {True, False}  # the same seeds, more or less of it
    assert all(m in all_of_them or m in none for m in some)
