"""The loss on detail that the degraded picture still shows."""

import pytest
import torch
from tiny import settings
from torch import Tensor
from torch.nn import functional as F

from memgan.training.losses.detail import KNOWN_MIN_PX, known_detail_distance

SIDE = 160


def grain(seed: int, strength: float = 1.0) -> Tensor:
    return strength * torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def blurred(image: Tensor, reach: int = 24) -> Tensor:
    for _ in range(3):
        image = F.avg_pool2d(F.pad(image, (reach,) * 4, mode="reflect"), 2 * reach + 1, 1)
    return image


def test_other_detail_costs_only_where_the_truth_was_shown() -> None:
    truth, other = grain(0), grain(1)
    assert known_detail_distance(truth, truth, truth).item() == 0
    shown = known_detail_distance(other, truth, truth)
    hidden = known_detail_distance(other, truth, blurred(truth))
    assert shown > 1 and hidden < 0.05 * shown


def test_detail_that_is_shown_faintly_is_known() -> None:
    truth, other = grain(0), grain(1)
    full, faint = (known_detail_distance(other, truth, gain * truth) for gain in (1.0, 0.3))
    assert faint == pytest.approx(full.item(), rel=0.1)
    noisy = known_detail_distance(other, truth, truth + 2 * grain(2))
    assert noisy < 0.4 * full  # of the power a fifth is the truth's


def test_squares_are_judged_by_themselves() -> None:
    truth, given = grain(0), grain(0)
    given[..., SIDE // 2 :] = blurred(truth)[..., SIDE // 2 :]
    left, right = truth.clone(), truth.clone()
    left[..., : SIDE // 2] = grain(1)[..., : SIDE // 2]
    right[..., SIDE // 2 :] = grain(1)[..., SIDE // 2 :]
    assert known_detail_distance(left, truth, given) > 3 * known_detail_distance(right, truth, given)


def test_strength_of_detail_does_not_matter_but_less_than_a_level_is_nothing() -> None:
    weak, strong = (known_detail_distance(0.5 * grain(0, s), grain(0, s), grain(0, s)).item() for s in (1.0, 2.0))
    assert weak == pytest.approx(strong, rel=0.1)
    nothing = grain(0, 0.05 / 127.5)
    assert known_detail_distance(0 * nothing, nothing, nothing).item() < 0.01


def test_brightness_is_left_to_other_losses() -> None:
    truth = grain(0)
    assert known_detail_distance(truth + 0.3, truth, truth).item() < 1e-3


def test_a_picture_is_driven_to_what_was_shown() -> None:
    truth = grain(0)
    restored = grain(1).requires_grad_()
    optimizer = torch.optim.Adam([restored], 0.1)
    before = (restored - truth).abs().mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        known_detail_distance(restored, truth, 0.5 * truth).backward()
        optimizer.step()
    assert (restored - truth)[..., 8:-8, 8:-8].abs().mean() < 0.5 * before


def test_the_last_band_has_a_pixel_at_the_least_side() -> None:
    side = KNOWN_MIN_PX
    least = [grain(seed)[..., :side, :side] for seed in range(3)]
    assert torch.isfinite(known_detail_distance(*least))


def test_its_weight_is_off_by_default() -> None:
    assert settings().losses.known_detail == 0
