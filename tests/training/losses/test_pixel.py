"""The pixel loss (Eq. 9)."""

import pytest
import torch

from memgan.training.losses.pixel import l1_loss


def test_l1() -> None:
    a = torch.zeros(2, 3, 32, 32)
    b = a.clone()
    b[0] = 1
    assert l1_loss(a, b).item() == 0.5
    assert l1_loss(a.half(), b.half()).dtype == torch.float32


def test_l1_of_means_sees_colors_not_detail() -> None:
    flat = torch.zeros(1, 3, 64, 64)
    checks = flat.clone()
    checks[..., ::2, ::2], checks[..., 1::2, 1::2] = 1, -1
    assert l1_loss(checks, flat, levels=4).item() == pytest.approx(0.5 / 4)  # gone from the second level on
    assert l1_loss(flat + 0.25, flat, levels=4).item() == pytest.approx(0.25)
    assert l1_loss(flat + 0.25, flat, levels=20).item() == pytest.approx(0.25)  # as far as there is anything to halve


def test_l1_can_mind_the_finest_detail_less() -> None:
    flat = torch.zeros(1, 3, 64, 64)
    checks = torch.ones(64, 64)
    checks[::2, 1::2] = checks[1::2, ::2] = -1
    checks = checks.expand(1, 3, 64, 64) / 2
    blocks = torch.nn.functional.interpolate(checks[..., ::4, ::4] + 1, scale_factor=4)  # to be seen down to 4 px
    assert l1_loss(checks, flat, levels=4, finest=0.25).item() == pytest.approx(0.25 * 0.5 / 4)
    assert l1_loss(blocks, flat, levels=3, finest=0.0).item() == pytest.approx(blocks.mean().item() / 3)
    assert l1_loss(checks, flat, finest=0.5).item() == pytest.approx(0.25)
