"""Starting values of a generator."""

import pytest
import torch
from tiny import TINY_MOBILE as TINY

from memgan.network.model import build_memgan
from memgan.training.build import begin_at_mean_latent_


def test_training_begins_at_the_mean_latent_code() -> None:
    torch.manual_seed(0)
    latent = build_memgan(TINY).latent
    codes = latent.mapping(torch.randn(2000, TINY.style_dim))
    by_chance = latent(torch.randn(5, TINY.encoder_width(4), 4, 4))
    left = begin_at_mean_latent_(latent)
    begun = latent(torch.randn(5, TINY.encoder_width(4), 4, 4))

    def distance(found: torch.Tensor) -> float:
        return float((found - codes.mean(0)).detach().square().mean() / codes.var(0).mean().detach())

    assert distance(begun) < 0.5 * distance(by_chance)
    assert distance(begun) == pytest.approx(left, abs=0.1)
