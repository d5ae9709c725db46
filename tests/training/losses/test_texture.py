"""The loss on the statistics of detail: what it sees, and what it leaves to the other losses."""

import pytest
import torch
from tiny import settings
from torch import Tensor
from torch.nn import functional as F

from memgan.training.losses.detail import TEXTURE_MIN_PX, texture_distance

SIDE = 160


def grain(seed: int, strength: float = 0.1) -> Tensor:
    return strength * torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def stripes(along: int) -> Tensor:
    wave = 0.1 * torch.sin(torch.arange(SIDE) * 2.1)
    return wave.view(*((1, 1, SIDE, 1) if along == 2 else (1, 1, 1, SIDE))).expand(1, 3, SIDE, SIDE)


def test_other_grain_of_the_same_kind_is_as_good() -> None:
    truth = grain(0)
    other, smooth = texture_distance(grain(1), truth), texture_distance(F.avg_pool2d(truth, 5, 1, 2), truth)
    assert texture_distance(truth, truth).item() == 0
    assert other < 0.25 * smooth
    # Pixel by pixel it is the other way round.
    assert (grain(1) - truth).abs().mean() > (F.avg_pool2d(truth, 5, 1, 2) - truth).abs().mean()


def test_brightness_and_shading_are_left_to_other_losses() -> None:
    truth = grain(0)
    slope = torch.linspace(-0.5, 0.5, SIDE).expand(SIDE, SIDE)
    assert texture_distance(truth + 0.3, truth).item() < 1e-3
    assert texture_distance(truth + slope, truth).item() < 1e-3


def test_twice_the_amplitude_costs_the_same_whether_faint_or_strong() -> None:
    faint, strong = (texture_distance(2 * grain(0, size), grain(0, size)).item() for size in (0.4, 1.0))
    assert faint == pytest.approx(strong, rel=0.05)
    assert strong == pytest.approx(torch.tensor(2.0).log().item(), rel=0.05)


def test_less_than_a_level_is_as_good_as_nothing() -> None:
    assert texture_distance(torch.zeros(2, 3, SIDE, SIDE), grain(0, 0.05 / 127.5)).item() < 0.02


def test_directions_and_places_count() -> None:
    assert texture_distance(stripes(2), stripes(3)) > 0.3
    half = grain(0)
    half[..., : SIDE // 2] = 0
    assert texture_distance(half.flip(-1), half) > texture_distance(grain(1), grain(0)) * 4


def test_a_smooth_picture_is_driven_to_the_right_amount() -> None:
    truth, noise = grain(0), grain(1)
    amount = torch.tensor(0.2, requires_grad=True)
    optimizer = torch.optim.Adam([amount], 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        texture_distance(amount * noise, truth).backward()
        optimizer.step()
    assert amount.item() == pytest.approx(1, abs=0.1)


def test_memory_layout_does_not_matter() -> None:
    found, truth = grain(1), grain(0)
    expected = texture_distance(found, truth)
    assert torch.equal(texture_distance(found.contiguous(memory_format=torch.channels_last), truth), expected)


def test_the_last_band_has_a_pixel_at_the_least_side() -> None:
    side = TEXTURE_MIN_PX
    least = [grain(seed)[..., :side, :side] for seed in range(2)]
    assert torch.isfinite(texture_distance(*least))


def test_its_weight_is_off_by_default() -> None:
    assert settings().losses.texture == 0
