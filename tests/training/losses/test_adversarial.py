"""The adversarial losses (Eq. 11 and 12) and R1."""

import math

import pytest
import torch
from fakes import noise
from torch import Tensor, nn

from memgan.errors import ConfigError
from memgan.training.losses.adversarial import discriminator_loss, generator_adversarial_loss, r1_penalty


def test_adversarial_losses() -> None:
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])

    def mean_log(values: Tensor) -> float:
        return sum(math.log(1 + math.exp(value)) for value in values.tolist()) / 2

    assert generator_adversarial_loss(fake).item() == pytest.approx(mean_log(-fake))
    assert discriminator_loss(real, fake).item() == pytest.approx(mean_log(fake) + mean_log(-real))
    assert generator_adversarial_loss(torch.tensor([-1e4])).item() == pytest.approx(1e4)  # no overflow
    assert discriminator_loss(real.half(), fake.half()).dtype == torch.float32


def test_adversarial_losses_pull_apart() -> None:
    logits = torch.zeros(2, requires_grad=True)
    generator_adversarial_loss(logits).backward()
    assert (logits.grad < 0).all()  # the generator raises the logits of its pictures
    real, fake = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    discriminator_loss(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()


def test_r1_of_a_known_critic() -> None:
    real = noise(4, 3, 8, 8).requires_grad_()
    scale = nn.Parameter(torch.tensor(3.0))
    penalty = r1_penalty((scale * real).flatten(1).sum(1), real)
    assert penalty.item() == pytest.approx(9 * 3 * 8 * 8)  # squared norm of a gradient of threes, one picture
    penalty.backward()
    assert scale.grad.item() == pytest.approx(6 * 3 * 8 * 8)
    with pytest.raises(ConfigError, match="requires_grad_"):
        r1_penalty(real.sum(), real.detach())


def test_the_paired_loss_compares_each_face_with_its_own_truth() -> None:
    real, fake = torch.tensor([[3.0], [-1.0]]), torch.tensor([[1.0], [-2.0]])
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0))) / 2
    assert float(discriminator_loss(real, fake, paired=True)) == pytest.approx(expected, rel=1e-6)
    mirrored = (math.log1p(math.exp(2.0)) + math.log1p(math.exp(1.0))) / 2
    assert float(generator_adversarial_loss(fake, real)) == pytest.approx(mirrored, rel=1e-6)
    # What both of a pair have in common says nothing, unlike in Eq. 12.
    shift = torch.tensor([[5.0], [-7.0]])
    assert torch.allclose(
        discriminator_loss(real + shift, fake + shift, paired=True), discriminator_loss(real, fake, paired=True)
    )
    assert not torch.allclose(discriminator_loss(real + shift, fake + shift), discriminator_loss(real, fake))
