"""What the generator is trained towards: Eq. 13 and the terms beside it, of one forward pass."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from memgan.errors import ConfigError
from memgan.training.config import TrainConfig
from memgan.training.losses import known_detail, texture
from memgan.training.losses.adversarial import generator_adversarial_loss
from memgan.training.losses.checkerboard import grid_distance
from memgan.training.losses.deep_features import SemanticLoss
from memgan.training.losses.identity import IdentityLoss
from memgan.training.losses.known_detail import known_detail_distance
from memgan.training.losses.perceptual import PerceptualLoss
from memgan.training.losses.pixel import l1_loss
from memgan.training.losses.prior_match import prior_distance
from memgan.training.losses.texture import texture_distance
from memgan.training.window import Focus, Region, random_region

Taps = tuple[list[Tensor], list[Tensor]]
"""Features of the restored and of the true picture, shallow to deep."""


class Seen(NamedTuple):
    """What fixed networks see in a forward pass; ``None``: no loss looks through that one."""

    perceptual: Taps | None = None
    """Of a crop at full resolution."""
    semantic: Taps | None = None
    """Of the part in its surroundings, at the scale of whole faces."""


class Pass(NamedTuple):
    """A batch of faces and what the generator made of it."""

    clean: Tensor
    """(B, 3, S, S) in [-1, 1]: the truth."""
    degraded: Tensor
    """(B, 3, S, S) in [-1, 1]: what the generator was given."""
    region: Region
    """The part that the losses look at."""
    restored: Tensor
    """(B, 3, h, w): that part, restored."""
    decoded: dict[int, Tensor]
    """Decoded features by scale."""
    found: Tensor
    """(B, D) latent codes."""
    latent: Tensor | None
    """(N, D) true codes of the last N faces, if the prior drew them."""
    mirrored: Tensor | None = None
    """(B, 3, h, w): that part as the averaged weights restore it from the mirror image; ``None``: not asked for."""
    focus: Focus | None = None
    """Where crops for perceptual loss and discriminator lie; ``None``: anywhere."""

    def draw_region(self, side: int | None, random: torch.Generator) -> Region:
        """A square of ``side`` pixels of the restored part, around the focus if there is one."""
        around = None if self.focus is None else self.focus.within(self.region, self.clean.shape[-1])
        return random_region(self.restored, side, random, around)

    @property
    def target(self) -> Tensor:
        """(B, 3, h, w): the truth of that part."""
        return self.region.crop(self.clean)


class LossNetworks(NamedTuple):
    """The frozen networks that losses look through; ``None``: that loss is left out."""

    perceptual: PerceptualLoss | None = None
    """Eq. 10."""
    identity: IdentityLoss | None = None
    """Who it is."""
    semantic: SemanticLoss | None = None
    """Deep features."""
    prior_features: Callable[[Tensor], dict[int, Tensor]] | None = None
    """The prior's features for latent codes (B, D), by scale; needed to match them."""


class Objective:
    """The generator's losses, weighted as the settings say.

    Args:
        config: the settings.
        networks: what losses look through.
        random: draws crops.
    """

    def __init__(self, config: TrainConfig, networks: LossNetworks, random: torch.Generator) -> None:
        self.config = config
        self.networks = networks
        self.random = random
        self.weights = LossWeights(config.l1_weight, config.perceptual_weight, config.adversarial_weight)
        self.match_weight = config.prior_match_weight if networks.prior_features is not None else 0.0
        self.match_share = 1.0

    def set_progress(self, progress: float) -> None:
        """Let the weight of the match fall with the share of the run that is done, 0 to 1."""
        if self.match_weight:
            until = self.config.prior_match_until
            self.match_share = max(1 - progress / until, 0.0) if until else 0.0

    def see(self, run: Pass) -> Seen:
        """The features that losses and discriminator look at; call it under autocast."""
        perceptual, _, semantic, _ = self.networks
        crop = None if perceptual is None else run.draw_region(self.config.perceptual_size, self.random)
        return Seen(
            None if crop is None else perceptual.features(crop.crop(run.restored), crop.crop(run.target)),
            None if semantic is None else semantic.taps(run.restored, run.region, run.clean),
        )

    def __call__(
        self, run: Pass, seen: Seen, fake_logits: Tensor | None, real_logits: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a forward pass; call it under autocast.

        Args:
            run: the forward pass.
            seen: see :meth:`see`.
            fake_logits: the discriminator of the restored part; ``None``: no adversarial loss.
            real_logits: of its truth, without gradient; used if the settings judge in pairs.

        Returns:
            the loss to minimize, and the terms by name, detached.
        """
        config = self.config
        perceptual, identity, semantic, _ = self.networks
        taps = seen.perceptual
        main = generator_loss(
            run.restored,
            run.target,
            perceptual=None if taps is None else perceptual.distance(*taps),
            fake_logits=fake_logits,
            real_logits=real_logits if config.adversarial_paired else None,
            weights=self.weights,
            l1_levels=config.l1_levels,
            l1_finest=config.l1_finest,
        )
        beside: dict[str, tuple[float, Tensor]] = {}
        if config.calibrated_weight:
            beside["calibrated"] = config.calibrated_weight, perceptual.calibrated_distance(*taps)
        if identity is not None:
            distance = identity(run.restored, run.region, run.clean, self.random)
            beside["identity"] = config.identity_weight, distance
        if semantic is not None:
            beside["semantic"] = config.semantic_weight, semantic.distance(*seen.semantic)
        if config.grid_weight:
            beside["grid"] = config.grid_weight, grid_distance(run.restored, run.target)
        if config.known_weight:
            given = run.region.crop(run.degraded)
            beside["known"] = config.known_weight, known_detail_distance(run.restored, run.target, given)
        if config.texture_weight:
            beside["texture"] = config.texture_weight, texture_distance(run.restored, run.target)
        if run.mirrored is not None:
            distance = l1_loss(run.restored, run.mirrored, config.l1_levels, config.l1_finest)
            beside["mirror"] = config.mirror_weight, distance
        total = main.total
        if self.match_weight:
            match = self._match(run)
            if match is not None:
                beside["prior_match"] = self.match_weight * self.match_share, match
            else:
                total = total + 0.0 * run.found.float().sum()  # every process needs all gradients, also zero ones
        for weight, term in beside.values():
            total = total + weight * term
        report = {"loss": main.total.detach(), "l1": main.l1, "perceptual": main.perceptual}
        report |= {name: term.detach() for name, (_, term) in beside.items()}
        if "grid" in report:
            report["grid"] = report["grid"].sqrt() * 127.5  # in levels
        if fake_logits is not None:
            report["adversarial"] = main.adversarial
        return total, report

    def _match(self, run: Pass) -> Tensor | None:
        if run.latent is None or not self.match_share:
            return None
        count = len(run.latent)
        reference = self.networks.prior_features(run.latent)
        decoded = {scale: run.decoded[scale][-count:] for scale in reference}
        return prior_distance(decoded, reference, run.found[-count:], run.latent)


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


def check_window(config: TrainConfig, image_size: int) -> None:
    """Refuse windows, and pictures, that leave the losses too little to look at.

    Raises:
        ConfigError: naming the sizes.
    """
    windowed = config.window is not None and image_size > config.window_scale
    side = config.window * (image_size // config.window_scale) - 2 * config.window_margin if windowed else image_size
    needs = {
        "set texture_weight to 0": texture.MIN_SIDE_PX if config.texture_weight else 0,
        "set known_weight to 0": known_detail.MIN_SIDE_PX if config.known_weight else 0,
    }
    if windowed:
        judged = config.discriminator_size or 0 if config.adversarial_weight else 0
        needs |= {"lower the discriminator_size": judged, "train on whole pictures": 32}
    remedy, needed = max(needs.items(), key=lambda need: need[1])
    if side >= needed:
        return
    if windowed:
        raise ConfigError(
            f"A window of {config.window} at scale {config.window_scale} with a margin of {config.window_margin} px "
            f"leaves {side} px of the picture for the losses, which need {needed}: enlarge the window, lower the "
            f"margin, or {remedy}."
        )
    raise ConfigError(
        f"The losses need pictures of {needed} px, these have {image_size}: {remedy}, or train at a larger size."
    )
