"""Combines the generator's losses: Eq. 13 and further terms of one forward pass.

A loss is an entry of :func:`make_terms` under the name of its weight in :class:`memgan.training.config.LossSettings`.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from memgan.errors import ConfigError
from memgan.evaluation.networks.efficientnet import EfficientNetLite
from memgan.training.config import LossSettings, TrainConfig
from memgan.training.data.clean_faces import PriorFaces
from memgan.training.losses.adversarial import generator_adversarial_loss
from memgan.training.losses.deep_features import VARIANT, DeepFeatureLoss, prior_distance
from memgan.training.losses.detail import KNOWN_MIN_PX, TEXTURE_MIN_PX, known_detail_distance, texture_distance
from memgan.training.losses.identity import IdentityLoss, identity_network
from memgan.training.losses.perceptual import PerceptualLoss, feature_network
from memgan.training.losses.pixel import checkerboard_distance, l1_loss, rms_loss
from memgan.training.window import Area, Focus, random_area, smallest_side

TapPair = tuple[list[Tensor], list[Tensor]]
"""Features of the restored and of the true picture, shallow to deep; empty lists: no loss needs them."""


class Pass(NamedTuple):
    """A batch of faces and what the generator made of it."""

    clean: Tensor
    degraded: Tensor
    """(B, 3, S, S) in [-1, 1], as ``clean``."""
    area: Area
    """What the losses look at."""
    restored: Tensor
    """(B, 3, h, w): that area, restored."""
    decoded: dict[int, Tensor]
    """Decoded features by scale."""
    latent_pred: Tensor
    """(B, D) latent codes."""
    latent_true: Tensor | None
    """(N, D) true codes of the last N faces, if the prior drew them."""
    focus: Focus | None = None
    """Where crops for perceptual loss and discriminator lie; ``None``: anywhere."""
    taps: TapPair = ([], [])
    """Features of a crop at full resolution, see :meth:`Objective.look`."""
    deep_taps: TapPair = ([], [])
    """Features of the area in its surroundings, at the scale of whole faces."""
    fake_logits: Tensor | None = None
    """The discriminator's of the restored area; ``None``: no adversarial loss in this step."""
    real_logits: Tensor | None = None
    """The discriminator's of its truth, without gradient; ``None``: not compared."""

    def draw_area(self, side: int | None, random: torch.Generator) -> Area:
        """A square of ``side`` pixels of the restored area, around the focus if there is one."""
        around = None if self.focus is None else self.focus.within(self.area, self.clean.shape[-1])
        return random_area(self.restored, side, random, around)

    @property
    def target(self) -> Tensor:
        """(B, 3, h, w): the truth of that area."""
        return self.area.crop(self.clean)


class LossNetworks(NamedTuple):
    """The frozen networks that losses look through; ``None``: those losses are left out."""

    perceptual: PerceptualLoss | None = None
    """Eq. 10 and LPIPS."""
    identity: IdentityLoss | None = None
    deep_feature: DeepFeatureLoss | None = None
    prior_features: Callable[[Tensor], dict[int, Tensor]] | None = None
    """The prior's features for latent codes (B, D), by scale."""


Term = Callable[[Pass], Tensor | None]
"""A loss of a forward pass, a scalar; ``None``: it does not apply to this one."""


def make_terms(losses: LossSettings, networks: LossNetworks, random: torch.Generator) -> dict[str, Term]:
    """The losses whose weight is above 0, by its name; ``random`` draws shifts."""
    perceptual, identity, deep_feature, prior_features = networks
    terms: dict[str, Term | None] = {
        "l1": lambda run: l1_loss(run.restored, run.target, losses.l1_levels, losses.l1_finest),
        "rms": lambda run: rms_loss(run.restored, run.target),
        "perceptual": None if perceptual is None else lambda run: perceptual.distance(*run.taps),
        "adversarial": lambda run: (
            None if run.fake_logits is None else generator_adversarial_loss(run.fake_logits, run.real_logits)
        ),
        "lpips": None if perceptual is None else lambda run: perceptual.calibrated_distance(*run.taps),
        "identity": None if identity is None else lambda run: identity(run.restored, run.area, run.clean, random),
        "deep_feature": None if deep_feature is None else lambda run: deep_feature.distance(*run.deep_taps),
        "checkerboard": lambda run: checkerboard_distance(run.restored, run.target),
        "known_detail": lambda run: known_detail_distance(run.restored, run.target, run.area.crop(run.degraded)),
        "texture": lambda run: texture_distance(run.restored, run.target),
        "prior_match": None if prior_features is None else lambda run: _prior_match(run, prior_features),
    }
    return {name: term for name, term in terms.items() if term is not None and getattr(losses, name)}


class Objective:
    """The generator's losses, weighted as the settings say; ``random`` draws their crops."""

    def __init__(self, config: TrainConfig, networks: LossNetworks, random: torch.Generator) -> None:
        self.losses = config.losses
        self.networks = networks
        self.random = random
        self.terms = make_terms(config.losses, networks, random)
        self.weights: dict[str, float] = {name: getattr(config.losses, name) for name in self.terms}

    @property
    def matches_prior(self) -> bool:
        """Whether features and latent code learn from the prior's own; no other loss reaches the latent code then."""
        return "prior_match" in self.terms

    def set_progress(self, progress: float) -> None:
        """Let the weight of the prior match fall with the share of the run that is done, 0 to 1."""
        if self.matches_prior:
            until = self.losses.prior_match_until
            share = max(1 - progress / until, 0.0) if until else 0.0
            self.weights["prior_match"] = self.losses.prior_match * share

    def look(self, run: Pass) -> Pass:
        """The pass with the features that losses and discriminator share; call it under autocast."""
        perceptual, deep_feature = self.networks.perceptual, self.networks.deep_feature
        if perceptual is not None:
            crop = run.draw_area(self.losses.perceptual_size, self.random)
            run = run._replace(taps=perceptual.features(crop.crop(run.restored), crop.crop(run.target)))
        if deep_feature is not None:
            run = run._replace(deep_taps=deep_feature.taps(run.restored, run.area, run.clean))
        return run

    def __call__(self, run: Pass) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a forward pass from :meth:`look`, and the terms by name, unweighted and detached; under autocast.

        The checkerboard's is reported as the root mean square of the grids in levels of 255.
        """
        # All processes need the same gradients, also zero ones.
        total = 0.0 * (run.restored.float().sum() + run.latent_pred.float().sum())
        report: dict[str, Tensor] = {}
        for name, term in self.terms.items():
            value = term(run) if self.weights[name] else None
            if value is not None:
                total = total + self.weights[name] * value
                report[name] = value.detach()
        if "checkerboard" in report:
            report["checkerboard"] = report["checkerboard"].sqrt() * 127.5
        return total, {"loss": total.detach(), **report}


def _prior_match(run: Pass, prior_features: Callable[[Tensor], dict[int, Tensor]]) -> Tensor | None:
    if run.latent_true is None:
        return None
    count = len(run.latent_true)
    reference = prior_features(run.latent_true)
    decoded = {scale: run.decoded[scale][-count:] for scale in reference}
    return prior_distance(decoded, reference, run.latent_pred[-count:], run.latent_true)


def make_loss_networks(
    config: TrainConfig,
    device: torch.device,
    perceptual_weights: Path | None = None,
    identity_weights: Path | None = None,
    prior_faces: PriorFaces | None = None,
) -> LossNetworks:
    """The networks of the losses whose weight is above 0.

    Args:
        config, device: the settings, and where the networks are needed.
        perceptual_weights, identity_weights: see :func:`memgan.training.engine.train`.
        prior_faces: the prior whose features are matched; ``None``: there is none.

    Raises:
        ConfigError: if only one of the identity loss's weight and its network is given.
    """
    losses = config.losses
    if bool(losses.identity) != (identity_weights is not None):
        raise ConfigError(
            f"losses.identity is {losses.identity:g} and the identity network {identity_weights}: give both, or "
            "neither."
        )
    networks = LossNetworks(make_perceptual(config, perceptual_weights, device))
    if identity_weights is not None:
        networks = networks._replace(identity=IdentityLoss(identity_network(identity_weights, device)))
    if losses.deep_feature:
        deep_feature = DeepFeatureLoss(EfficientNetLite(VARIANT)).to(device).to(memory_format=torch.channels_last)
        networks = networks._replace(deep_feature=deep_feature)
    if prior_faces is not None and losses.prior_match:
        features = functools.partial(prior_faces.features, up_to=losses.prior_match_scale)
        networks = networks._replace(prior_features=features)
    return networks


def make_perceptual(config: TrainConfig, weights: Path | None, device: torch.device) -> PerceptualLoss | None:
    """Eq. 10 with its feature network, or ``None`` if no loss looks at features."""
    losses = config.losses
    if not losses.use_perceptual_features:
        return None
    # The first taps suffice for Eq. 10 alone; LPIPS and the discriminator look at all.
    discriminated = losses.adversarial and config.discriminator.kind == "features"
    built = 5 if losses.lpips or discriminated else losses.perceptual_taps or 5
    network = feature_network(losses.perceptual_network, weights, built)
    loss = PerceptualLoss(network, unit_normalize=losses.perceptual_unit_normalize, taps=losses.perceptual_taps)
    if config.run.compile:
        network.compile()
        loss.distance = torch.compile(loss.distance)  # type: ignore[method-assign]
        loss.calibrated_distance = torch.compile(loss.calibrated_distance)  # type: ignore[method-assign]
    return loss.to(device).to(memory_format=torch.channels_last)


def check_window(config: TrainConfig, image_size: int) -> None:
    """Raise :class:`ConfigError` for windows, and pictures, that leave the losses too little to look at."""
    losses, window, discriminator = config.losses, config.window, config.discriminator
    judges_crops = losses.adversarial and discriminator.kind == "picture"
    needs = {
        "set losses.texture to 0": TEXTURE_MIN_PX if losses.texture else 0,
        "set losses.known_detail to 0": KNOWN_MIN_PX if losses.known_detail else 0,
        "lower discriminator.size": discriminator.size or 0 if judges_crops else 0,
    }
    side = smallest_side(window.size, window.scale, image_size, window.margin)
    if windowed := side < image_size:
        needs |= {"train on whole pictures": 32}
    remedy, needed = max(needs.items(), key=lambda need: need[1])
    if side < needed and windowed:
        raise ConfigError(
            f"A window of {window.size} at scale {window.scale} with a margin of {window.margin} px leaves {side} px "
            f"of the picture for the losses, which need {needed}: enlarge the window, lower the margin, or {remedy}."
        )
    if side < needed:
        raise ConfigError(f"The losses need pictures of {needed} px, these have {side}: {remedy}, or enlarge them.")
