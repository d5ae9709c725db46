"""Computes the adversarial losses (Eq. 11 and 12) and the discriminator's R1 penalty."""

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.errors import ConfigError


def generator_adversarial_loss(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """Non-saturating logistic loss of the generator (Eq. 11): mean softplus(-D(restored)); scalar.

    With the logits of the truths the paired loss, mean softplus(D(real) - D(restored)), see :func:`discriminator_loss`.
    """
    if real_logits is not None:
        return F.softplus(real_logits.float() - fake_logits.float()).mean()
    return F.softplus(-fake_logits.float()).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, *, paired: bool = False) -> Tensor:
    """Logistic loss of the discriminator (Eq. 12): mean softplus(D(restored)) + mean softplus(-D(real)); scalar.

    Eq. 12 is printed with the brackets and the expectation over ``restored`` misplaced; this is the loss that it cites.

    Args:
        real_logits, fake_logits: D of the truths, and of the restored faces in the same order.
        paired: compare every restored face with its own truth, mean softplus(D(restored) - D(real)): the relativistic
            loss (Jolicoeur-Martineau, 2019), whose pairs are drawn at random where nothing is restored.
    """
    if paired:
        return F.softplus(fake_logits.float() - real_logits.float()).mean()
    return F.softplus(fake_logits.float()).mean() + F.softplus(-real_logits.float()).mean()


def r1_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """R1: squared norm of the gradient of D at real pictures, mean over the batch; scalar, differentiable.

    Multiply by gamma / 2 and, if it is applied every n-th step only (the paper's setting: 16), by n.

    ``real_logits``, one or more per picture, are D of ``real``, (B, 3, H, W).

    Raises:
        ConfigError: if ``real`` did not require gradients before D saw it.
    """
    if not real.requires_grad:
        raise ConfigError("r1_penalty needs real.requires_grad_() before the discriminator is applied.")
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    return gradient.float().square().sum(tuple(range(1, gradient.dim()))).mean()
