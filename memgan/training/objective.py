"""What the generator is trained towards: Eq. 13 and the terms beside it, of one forward pass."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from memgan.training.config import TrainConfig
from memgan.training.grid import grid_distance
from memgan.training.identity import IdentityLoss
from memgan.training.known_detail import known_detail_distance
from memgan.training.losses import LossWeights, PerceptualLoss, generator_loss, l1_loss
from memgan.training.matching import prior_distance
from memgan.training.semantic import SemanticLoss
from memgan.training.texture import texture_distance
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
            the loss to minimise, and the terms by name, detached.
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
