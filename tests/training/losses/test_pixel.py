"""The pixel losses: Eq. 9, and the root mean square error."""

import pytest
import torch

from memgan.training.losses.pixel import l1_loss, rms_loss


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


def test_rms_is_the_mean_of_each_faces_root() -> None:
    truth = torch.zeros(2, 3, 32, 32)
    restored = truth.clone()
    restored[0] = 0.5
    restored[1, :, :16] = 1.0  # half of the pixels
    assert rms_loss(restored, truth).item() == pytest.approx((0.5 + 0.5**0.5) / 2, rel=1e-5)
    assert rms_loss(restored.half(), truth.half()).dtype == torch.float32


def test_rms_has_a_gradient_where_nothing_is_wrong() -> None:
    truth = torch.zeros(1, 3, 32, 32)
    restored = truth.clone().requires_grad_()
    rms_loss(restored, truth).backward()
    assert restored.grad is not None and torch.equal(restored.grad, truth)


def test_rms_prefers_the_mean_and_l1_the_median() -> None:
    truths = torch.zeros(1, 3, 40, 40)
    truths[..., :10] = 1.0  # one truth in four
    guesses = [torch.full_like(truths, value) for value in (0.0, 0.25)]
    assert rms_loss(guesses[1], truths) < rms_loss(guesses[0], truths)
    assert l1_loss(guesses[0], truths) < l1_loss(guesses[1], truths)
