"""PSNR and SSIM against scikit-image."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from memgan.errors import ShapeError
from memgan.evaluation import psnr, ssim


def pictures(count: int = 2) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 56), indexing="ij")
    return torch.stack([torch.stack([torch.sin((9 + n) * x), torch.cos(7 * y * x), x - y]) for n in range(count)])


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


def test_a_part_of_the_picture_counts_alone() -> None:
    clean = pictures()
    where = torch.zeros(clean.shape[-2:], dtype=torch.bool)
    where[10:30, 20:40] = True
    other = clean.clone()
    other[..., where] = clean[..., where] + 0.05 * torch.randn(2, 3, 400, generator=torch.Generator().manual_seed(3))
    # An error of 1 in what does not count: windows of SSIM that reach there see it, pixels of PSNR do not.
    spoiled = torch.where(where, other, other + 1)
    whole = psnr(other[..., 10:30, 20:40], clean[..., 10:30, 20:40])
    torch.testing.assert_close(psnr(spoiled, clean, where), whole, rtol=0, atol=1e-4)
    assert (psnr(spoiled, clean, ~where) < 10).all()
    inner = torch.zeros_like(where)
    inner[15:25, 25:35] = True  # no window around these reaches out of the square
    torch.testing.assert_close(ssim(spoiled, clean, inner), ssim(other[..., 10:30, 20:40], clean[..., 10:30, 20:40]))
    everywhere = torch.ones_like(where)
    for metric in (psnr, ssim):
        torch.testing.assert_close(metric(other, clean, everywhere), metric(other, clean))
        with pytest.raises(ShapeError, match="where is"):
            metric(other, clean, where[1:])
        with pytest.raises(ShapeError, match=r"needed: torch\.bool"):
            metric(other, clean, where.float())


def test_bad_shapes_are_named() -> None:
    clean = pictures(1)
    for metric in (psnr, ssim):
        with pytest.raises(ShapeError, match="needed"):
            metric(clean, clean[..., :-1])
        with pytest.raises(ShapeError, match="needed"):
            metric(clean[0], clean[0])
    with pytest.raises(ShapeError, match="11 px"):
        ssim(clean[..., :10], clean[..., :10])
