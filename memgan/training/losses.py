"""The training losses of Sec. 3.4, Eq. 9 to 13, and the R1 penalty of the discriminator."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.errors import ConfigError
from memgan.evaluation.stlpips import unit_normalised
from memgan.training.features import FeatureNetwork, check_images


def l1_loss(restored: Tensor, target: Tensor, levels: int = 1, finest: float = 1.0) -> Tensor:
    """Mean absolute difference (Eq. 9) of two (B, 3, H, W) pictures in [-1, 1]; scalar float32, 0 to 2.

    Args:
        restored, target: the pictures.
        levels: resolutions over which it is averaged: the full one, and the means over squares of 2, 4, ... px. At full
            resolution most of the difference is fine detail that nobody can foretell, and colours and shading, which
            the input shows well, hardly count; in the means they are all that is left.
        finest: weight of the full resolution and of the next, relative to the others. Below 1 the loss minds less that
            detail lies elsewhere than in the truth.
    """
    check_images(restored, target)
    error = restored.float() - target.float()
    total = finest * error.abs().mean()
    for level in range(1, levels):
        if min(error.shape[-2:]) > 1:
            error = F.avg_pool2d(error, 2)
        total = total + (finest if level == 1 else 1.0) * error.abs().mean()
    return total / levels


class PerceptualLoss(nn.Module):
    """Weighted L1 distance of the features of a fixed network (Eq. 10); lower is more alike.

    Args:
        network: see :func:`memgan.training.features.feature_network`.
        weights: one per tap; ``None``: the network's own.
        unit_normalise: divide the features at every position by their root mean square over channels first, so that
            every tap counts alike whatever its scale (and the weights default to one divided by the number of taps).
            Off: the literal Eq. 10.
        taps: how many of the network's taps count, from the input on; ``None``: all.

    Raises:
        ConfigError: if there are not as many weights as taps.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        weights: Sequence[float] | None = None,
        *,
        unit_normalise: bool = False,
        taps: int | None = None,
    ) -> None:
        super().__init__()
        count = len(network.default_weights) if taps is None else taps
        if weights is None:
            weights = (1 / count,) * count if unit_normalise else network.default_weights[:count]
        if len(weights) != count:
            raise ConfigError(f"{len(weights)} weights were given for {count} taps; give one for each.")
        self.network = network
        self.weights = tuple(float(weight) for weight in weights)
        self.unit_normalise = unit_normalise

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar float32 loss of two (B, 3, H, W) pictures in [-1, 1], sides >= 32 px; gradients reach ``restored``.

        The convolutions follow autocast; normalisation and differences are float32.
        """
        return self.distance(*self.features(restored, target))

    def features(self, restored: Tensor, target: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """All taps of both pictures; gradients reach ``restored``."""
        check_images(restored, target)
        with torch.no_grad():
            wanted = self.network(target)
        return self.network(restored), wanted

    def distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Eq. 10 of taps; those behind the last weight do not count."""
        total = found[0].new_zeros((), dtype=torch.float32)
        for weight, tap, goal in zip(self.weights, found, wanted, strict=False):
            total = total + weight * (self._prepared(tap) - self._prepared(goal)).abs().mean()
        return total

    def calibrated_distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """The distance that the network's own channel weights were fitted for (LPIPS, Zhang et al., 2018); scalar.

        Squared differences of unit-normalised taps, weighted by channel as people's judgements of pairs want it.

        Raises:
            ConfigError: if the network has no such weights.
        """
        if self.network.calibration is None:
            raise ConfigError(f"{type(self.network).__name__} has no calibration; use the network stlpips_vgg.")
        total = found[0].new_zeros((), dtype=torch.float32)
        for weight, tap, goal in zip(self.network.calibration, found, wanted, strict=True):
            difference = (unit_normalised(tap.float()) - unit_normalised(goal.float())).square()
            total = total + (difference * weight.view(1, -1, 1, 1)).sum(1).mean()
        return total

    def _prepared(self, tap: Tensor) -> Tensor:
        tap = tap.float()
        return unit_normalised(tap, 1e-3) * tap.shape[1] ** 0.5 if self.unit_normalise else tap


def generator_adversarial_loss(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """Non-saturating logistic loss of the generator (Eq. 11): mean softplus(-D(restored)); scalar.

    Args:
        fake_logits: D of the restored faces.
        real_logits: D of their truths, for the paired loss: mean softplus(D(real) - D(restored)), see
            :func:`discriminator_loss`; ``None``: Eq. 11.
    """
    if real_logits is not None:
        return F.softplus(real_logits.float() - fake_logits.float()).mean()
    return F.softplus(-fake_logits.float()).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, *, paired: bool = False) -> Tensor:
    """Logistic loss of the discriminator (Eq. 12): mean softplus(D(restored)) + mean softplus(-D(real)); scalar.

    Eq. 12 is printed with the brackets and the expectation over ``restored`` misplaced; this is the loss that it cites.

    Args:
        real_logits: D of the truths.
        fake_logits: D of the restored faces, in the same order.
        paired: judge every restored face against its own truth, mean softplus(D(restored) - D(real)): the relativistic
            loss (Jolicoeur-Martineau, 2019), whose pairs are drawn at random where nothing is restored. What the two
            pictures have in common cancels, so that a discriminator learns from few small batches what is missing.
    """
    if paired:
        return F.softplus(fake_logits.float() - real_logits.float()).mean()
    return F.softplus(fake_logits.float()).mean() + F.softplus(-real_logits.float()).mean()


def r1_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """R1: squared norm of the gradient of D at real pictures, mean over the batch; scalar, differentiable.

    Multiply by gamma / 2 and, if it is applied every n-th step only (the paper's setting: 16), by n.

    Args:
        real_logits: D(``real``), any shape, one or more logits per picture.
        real: (B, 3, H, W) with ``requires_grad`` set before D saw it.

    Raises:
        ConfigError: if ``real`` does not require gradients.
    """
    if not real.requires_grad:
        raise ConfigError("r1_penalty needs real.requires_grad_() before the discriminator is applied.")
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    return gradient.float().square().sum(tuple(range(1, gradient.dim()))).mean()


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """The alphas of Eq. 13; the defaults are the paper's."""

    l1: float = 0.1
    perceptual: float = 1.0
    adversarial: float = 0.1

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value >= 0:
                raise ConfigError(f"The loss weight {field.name} is {value!r}; it must be at least 0.")


class GeneratorLoss(NamedTuple):
    """Terms of Eq. 13, scalars; ``l1``, ``perceptual`` and ``adversarial`` are before weighting and detached."""

    total: Tensor
    l1: Tensor
    perceptual: Tensor
    adversarial: Tensor


def generator_loss(
    restored: Tensor,
    target: Tensor,
    *,
    perceptual: Tensor | None = None,
    fake_logits: Tensor | None = None,
    real_logits: Tensor | None = None,
    weights: LossWeights | None = None,
    l1_levels: int = 1,
    l1_finest: float = 1.0,
) -> GeneratorLoss:
    """The generator's loss (Eq. 13); a term whose ``perceptual`` or ``fake_logits`` is ``None`` is left out (zero).

    ``perceptual`` is Eq. 10 of the two pictures; for ``l1_levels`` and ``l1_finest`` see
    :func:`l1_loss`.

    With ``real_logits`` the adversarial term is the paired one, see :func:`discriminator_loss`.
    """
    weights = weights or LossWeights()
    pixel = l1_loss(restored, target, l1_levels, l1_finest)
    zero = torch.zeros_like(pixel)
    feature = zero if perceptual is None else perceptual
    adversarial = zero if fake_logits is None else generator_adversarial_loss(fake_logits, real_logits)
    total = weights.l1 * pixel + weights.perceptual * feature + weights.adversarial * adversarial
    return GeneratorLoss(total, pixel.detach(), feature.detach(), adversarial.detach())
