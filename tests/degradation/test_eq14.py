"""Eq. 14: parameters, seeds, the two JPEG codecs, extremes and bad input."""

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from memgan.degradation import (
    Degradation,
    DegradationParameters,
    apply_degradation,
    degrade_seeded,
    draw_parameters,
    gaussian_blur,
    jpeg_real,
    jpeg_simulated,
)
from memgan.errors import ConfigError, ImageError, ShapeError

OFF = DegradationParameters(blur_sigma=0, downscale=1, noise_sigma=0, jpeg_quality=100)


def degrade_one(image: torch.Tensor, seed: int) -> torch.Tensor:
    return degrade_seeded(image[None], [seed])[0]


def pictures(count: int = 2, height: int = 64, width: int = 64) -> Tensor:
    """Smooth colors with a few edges and fine stripes, (B, 3, H, W) in [-1, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    planes = []
    for number in range(count):
        waves = [torch.sin((5 + number) * x + 3 * y), torch.cos(4 * y - 2 * x * number), torch.sin(40 * x * y) / 2]
        disc = ((x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.06).float()
        planes.append(torch.stack(waves) * 0.7 + 0.5 * disc * torch.tensor([1.0, -0.5, 0.2])[:, None, None])
    return torch.stack(planes).clamp(-1, 1)


def levels(image: Tensor) -> Tensor:
    return ((image + 1) * 127.5).round()


def decibels(a: Tensor, b: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a - b).square().mean()))


def run(image: Tensor, seed: int = 0, **changes: float) -> Tensor:
    parameters = DegradationParameters(**{**vars(OFF), **changes})
    return apply_degradation(image, parameters, torch.Generator().manual_seed(seed))


def test_parameters_fill_the_paper_s_ranges() -> None:
    drawn = [draw_parameters(seed) for seed in range(2000)]
    for field, low, high in [("blur_sigma", 0.2, 10), ("downscale", 1, 8), ("noise_sigma", 0, 15)]:
        values = np.array([getattr(parameters, field) for parameters in drawn])
        share = (values - low) / (high - low)
        assert share.min() >= 0 and share.max() <= 1
        assert np.abs(np.quantile(share, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.05  # uniform
    qualities = [parameters.jpeg_quality for parameters in drawn]
    assert set(qualities) == set(range(60, 101))  # both ends included
    columns = np.array([[p.blur_sigma, p.downscale, p.noise_sigma, p.jpeg_quality] for p in drawn])
    assert np.abs(np.corrcoef(columns.T) - np.eye(4)).max() < 0.08  # independent of each other


def test_a_whole_quality_is_a_whole_number_however_it_is_given() -> None:
    low, high = Degradation(jpeg_quality=(60.0, 90.0)).jpeg_quality
    assert (low, high) == (60, 90) and isinstance(low, int) and isinstance(high, int)


def test_parameters_follow_the_settings() -> None:
    settings = Degradation(blur_sigma=(3, 3), downscale=(2, 2.5), noise_sigma=(0, 0), jpeg_quality=(80, 80))
    for seed in range(20):
        drawn = draw_parameters(seed, settings)
        assert (drawn.blur_sigma, drawn.noise_sigma, drawn.jpeg_quality) == (3, 0, 80)
        assert 2 <= drawn.downscale <= 2.5


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("blur_sigma", [(5, 1), (-1, 1)]),
        ("downscale", [(0.5, 2), (1, 2, 3), ("1", "2")]),
        ("noise_sigma", [(0, 300), (0, math.nan)]),
        ("jpeg_quality", [(60, 101), (60.5, 90), 80]),
    ],
)
def test_bad_settings_are_named(field: str, values: list) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=field):
            Degradation(**{field: value})


def test_a_seed_fixes_the_picture_whatever_the_batch() -> None:
    images = pictures(3)
    together = degrade_seeded(images, [5, 6, 7])
    for image, seed, result in zip(images, [5, 6, 7], together):
        assert torch.equal(degrade_one(image, seed), result)
    assert torch.equal(degrade_seeded(images.flip(0), [7, 6, 5]), together.flip(0))
    assert not torch.equal(degrade_one(images[0], 5), degrade_one(images[0], 6))


def test_each_picture_of_a_batch_has_its_own_parameters() -> None:
    a, b = degrade_seeded(pictures(1).expand(2, -1, -1, -1), [8, 9])
    assert not torch.equal(a, b)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    degrade_seeded(pictures(1), [0])
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("codec", ["real", "simulated"])
def test_shape_range_and_levels(codec: str) -> None:
    images = pictures(2, 50, 71)
    result = degrade_seeded(images, [0, 1], codec=codec)
    assert result.shape == images.shape and result.dtype == torch.float32
    assert result.min() >= -1 and result.max() <= 1
    counts = (result + 1) * 127.5
    assert (counts - counts.round()).abs().max() < 1e-4  # survives an 8-bit file


def test_nothing_to_do_changes_nothing_much() -> None:
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    image = pictures(1)[0]
    clean, result = ((levels(x) * luma).sum(0) for x in (image, run(image)))
    assert decibels(result, clean) > 45  # quality 100 still rounds; at edges of color the halved chroma clips


def test_every_step_degrades() -> None:
    image = pictures(1)[0]
    clean = levels(run(image))
    for changes in ({"blur_sigma": 2.0}, {"downscale": 4.0}, {"noise_sigma": 10.0}, {"jpeg_quality": 20}):
        assert decibels(levels(run(image, **changes)), clean) < 36, changes


def test_blur_equals_opencv_s() -> None:
    image = levels(pictures(1, 64, 80)[0])
    for sigma in (0.2, 1.3, 4.0):
        side = 2 * math.ceil(3 * sigma) + 1
        expected = cv2.GaussianBlur(image.permute(1, 2, 0).numpy(), (side, side), sigma)
        assert np.abs(gaussian_blur(image, sigma).permute(1, 2, 0).numpy() - expected).max() < 1e-2


def test_blur_keeps_the_mean_and_spreads_by_sigma() -> None:
    point = torch.zeros(1, 121, 121)
    point[0, 60, 60] = 1
    blurred = gaussian_blur(point, 10.0)[0]
    offset = torch.arange(121.0) - 60
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    assert (blurred.sum(0) * offset.square()).sum().sqrt() == pytest.approx(10, rel=0.02)


def test_resampling_is_opencv_s_bilinear() -> None:
    image = levels(pictures(1, 64, 64)[0]) / 127.5 - 1
    result = levels(run(image, downscale=2.7))
    small = cv2.resize(levels(image).permute(1, 2, 0).numpy(), (24, 24), interpolation=cv2.INTER_LINEAR)
    small = jpeg_real(torch.from_numpy(small).permute(2, 0, 1).round(), 100).permute(1, 2, 0).contiguous().numpy()
    expected = torch.from_numpy(cv2.resize(small, (64, 64), interpolation=cv2.INTER_LINEAR)).permute(2, 0, 1)
    assert (result - expected).abs().mean() < 0.6  # rounding, and ties that fall differently before JPEG
    averaged = cv2.resize(levels(image).permute(1, 2, 0).numpy(), (24, 24), interpolation=cv2.INTER_AREA)
    other = torch.from_numpy(cv2.resize(averaged, (64, 64), interpolation=cv2.INTER_LINEAR)).permute(2, 0, 1)
    assert (result - other).abs().mean() > 1.5


def test_noise_has_the_given_deviation_in_levels() -> None:
    gray = torch.zeros(3, 128, 128)
    result = (run(gray, noise_sigma=12.0) + 1) * 127.5
    # The luminance of independent noise in three colors; 4:2:0 smooths the rest away.
    weights = torch.tensor([0.299, 0.587, 0.114])
    luma = (result * weights[:, None, None]).sum(0)
    assert float(luma.std()) == pytest.approx(12 * float(weights.norm()), rel=0.05)
    assert float(result.mean()) == pytest.approx(127.5, abs=0.7)


@pytest.mark.parametrize(("quality", "least"), [(1, 36), (10, 36), (60, 40), (85, 42), (100, 44)])
def test_the_simulated_jpeg_is_the_real_one(quality: int, least: float) -> None:
    for image in levels(pictures(3, 90, 118)):
        real, simulated = jpeg_real(image, quality), jpeg_simulated(image, quality)
        assert decibels(real, simulated) > least
        assert decibels(real, simulated) > decibels(real, image) or quality == 100
        assert (real - simulated).mean((1, 2)).abs().max() < 0.4  # no cast of color or brightness


def test_the_whole_degradation_is_alike_with_both_codecs() -> None:
    images = pictures(16, 128, 128)
    real = levels(degrade_seeded(images, range(16), codec="real"))
    simulated = levels(degrade_seeded(images, range(16), codec="simulated"))
    assert decibels(real, simulated) > 40
    assert (real - simulated).mean((0, 2, 3)).abs().max() < 0.1


def test_jpeg_keeps_the_color_order() -> None:
    red = torch.zeros(3, 32, 32)
    red[0] = 255
    for codec in (jpeg_real, jpeg_simulated):
        assert (codec(red, 95) - red).abs().max() < 6


def test_extremes() -> None:
    settings = Degradation(blur_sigma=(100, 100), downscale=(64, 64), noise_sigma=(255, 255), jpeg_quality=(1, 1))
    result = degrade_seeded(pictures(2, 8, 9), [0, 2**63 - 1], settings=settings)
    assert result.shape == (2, 3, 8, 9) and result.isfinite().all()
    assert degrade_seeded(torch.zeros(0, 3, 16, 16), []).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_float_types_are_kept(dtype: torch.dtype) -> None:
    image = pictures(1)[0]
    result = degrade_one(image.to(dtype), 3)
    assert result.dtype == dtype
    assert (result.float() - degrade_one(image, 3)).abs().mean() < 0.02


def test_overshoot_is_clamped_and_gradients_stop() -> None:
    image = (pictures(1)[0] * 1.5).requires_grad_()
    result = degrade_one(image, 3)
    assert not result.requires_grad
    assert torch.equal(result, degrade_one(image.clamp(-1, 1), 3))


def test_bad_input_is_named() -> None:
    good = pictures(1)
    with pytest.raises(ShapeError, match=r"\(1, 1, 64, 64\)"):
        degrade_seeded(good[:, :1], [0])
    with pytest.raises(ShapeError, match="64, 7"):
        degrade_seeded(good[..., :7], [0])
    with pytest.raises(ShapeError, match="2 seeds"):
        degrade_seeded(good, [1, 2])
    with pytest.raises(ImageError, match="uint8"):
        degrade_seeded(levels(good).to(torch.uint8), [0])
    with pytest.raises(ImageError, match="outside"):
        degrade_seeded(levels(good), [0])
    with pytest.raises(ImageError, match="NaN"):
        degrade_seeded(good * math.nan, [0])
    with pytest.raises(ConfigError, match="codec"):
        degrade_seeded(good, [0], codec="webp")


@pytest.mark.gpu
def test_gpu_equals_cpu_but_for_the_noise() -> None:
    images = pictures(4, 128, 128)
    settings = Degradation(noise_sigma=(0, 0))
    expected = levels(degrade_seeded(images, range(4), settings=settings, codec="simulated"))
    result = degrade_seeded(images.cuda(), range(4), settings=settings)
    assert result.is_cuda
    assert decibels(levels(result.cpu()), expected) > 45


def test_ranges_of_smaller_faces_are_in_proportion() -> None:
    paper = Degradation()
    assert paper.at_size(512) is paper
    small = paper.at_size(128)
    assert small.blur_sigma == (0.05, 2.5) and small.downscale == (1.0, 2.0)
    assert (small.noise_sigma, small.jpeg_quality) == (paper.noise_sigma, paper.jpeg_quality)
    assert paper.at_size(32).downscale == (1.0, 1.0)
    assert paper.at_size(1024).blur_sigma == (0.4, 20.0)


def test_mild_is_the_gentlest_third():
    paper, mild = Degradation(), Degradation().mild()
    assert mild.noise_sigma == (0.0, 5.0) and mild.jpeg_quality == (87, 100)
    assert mild.blur_sigma == pytest.approx((0.2, 0.2 + 9.8 / 3)) and mild.downscale == pytest.approx((1.0, 1 + 7 / 3))
    assert Degradation(jpeg_quality=(90, 90), blur_sigma=(0, 0)).mild().jpeg_quality == (90, 90)
    assert paper == Degradation()
