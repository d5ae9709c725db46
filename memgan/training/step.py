"""One training step, without an engine: losses, gradients, memory, averaged weights."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from memgan.network.model import MemGAN
from memgan.network.window import Window
from memgan.training.config import TrainConfig
from memgan.training.ema import Averaged
from memgan.training.losses.adversarial import discriminator_loss, r1_penalty
from memgan.training.losses.objective import LossNetworks, Objective, Pass, Seen, check_window
from memgan.training.rates import LATENT_RATE, MATCHED_LATENT_RATE, parameter_groups
from memgan.training.sync import all_reduce_statistics, average_gradients_, broadcast_
from memgan.training.window import draw_focus, draw_window, valid_region

Judged = Tensor | list[Tensor]
"""What the discriminator sees: pictures, or the taps of their features."""

LLOYD_STEPS = 4
"""Full moves of the slots to the means of their features before the first step."""


class Trainer:
    """Networks, optimizers and the order of things within a step.

    Args:
        config: the settings.
        generator: the generator, not wrapped: gradients are averaged over processes here, because parameters that
            freeze, several passes per step and explicit memory updates do not go with a wrapper that does it in hooks.
        discriminator: or ``None`` without adversarial loss.
        networks: what the losses look through; ``None``: pixels alone.
        backward: how to run the backward pass, if an engine scales it.
        autocast: context of the forward passes.
    """

    def __init__(
        self,
        config: TrainConfig,
        generator: MemGAN,
        discriminator: nn.Module | None,
        networks: LossNetworks | None = None,
        *,
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
        autocast: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ) -> None:
        check_window(config, generator.config.image_size)
        self.config = config
        self.generator = generator
        self.discriminator = discriminator
        self.backward = backward
        self.autocast = autocast
        self.random = torch.Generator().manual_seed(config.seed)
        self.objective = Objective(config, networks or LossNetworks(), self.random)
        self.averaged = Averaged(generator, config.ema_decay)
        self.prior_parameters, groups = parameter_groups(
            generator, config.prior_rate, MATCHED_LATENT_RATE if self.objective.match_weight else LATENT_RATE
        )
        for group in groups:
            group["lr"] = config.learning_rate * group["relative"]
        fused = next(generator.parameters()).device.type == "cuda"  # one kernel a group instead of twelve
        self.generator_optimizer = torch.optim.Adam(
            groups, betas=(config.beta1, config.beta2), fused=fused, foreach=not fused
        )
        self.discriminator_optimizer = (
            None
            if discriminator is None
            else torch.optim.Adam(
                discriminator.parameters(),
                lr=config.learning_rate * config.discriminator_rate,
                betas=(0.0, 0.99),
                fused=fused,
                foreach=not fused,
            )
        )
        self.step_index = 0

    @torch.no_grad()
    def initialize_memory(self, degraded: Tensor) -> None:
        """Draw every bank's slots from the features of a batch, the same in all processes."""
        with self.autocast():
            features = self.generator.encoder(degraded)
        for name, bank in self.generator.memory.items():
            bank.initialize_(features[int(name)])
            # Drawn features lie apart; their clusters' means, to which Eq. 5 leads, lie closer together. Going there
            # at once spares the layers behind the memory a read that shrinks under them.
            for _ in range(LLOYD_STEPS):
                bank.update_(bank.statistics(self._sampled(features[int(name)])), decay=0.0)
            bank.usage.zero_()
            broadcast_(bank.buffers())
        self.reset_average()

    def reset_average(self) -> None:
        """Begin the averaged weights anew from the generator as it is."""
        self.averaged = Averaged(self.generator, self.config.ema_decay)

    def set_rate(self, factor: float, progress: float = 0.0) -> None:
        """Scale the learning rates (schedule); the prior stays frozen for its first steps.

        Args:
            factor: of the configured rates.
            progress: share of the run that is done, 0 to 1.
        """
        self.objective.set_progress(progress)
        frozen = self.step_index < self.config.prior_frozen_steps
        for parameter in self.prior_parameters:
            parameter.requires_grad_(not frozen and self.config.prior_rate > 0)
        for group in self.generator_optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor * group["relative"]
        if self.discriminator_optimizer is not None:
            for group in self.discriminator_optimizer.param_groups:
                group["lr"] = self.config.learning_rate * self.config.discriminator_rate * factor

    def step(self, clean: Tensor, degraded: Tensor, latent: Tensor | None = None) -> dict[str, Tensor]:
        """Update generator, memory and averaged weights, then the discriminator.

        Args:
            clean, degraded: (B, 3, S, S) in [-1, 1].
            latent: (N, D) latent codes of the last N faces, if the prior drew them.

        Returns:
            losses by name, detached scalars.
        """
        config = self.config
        adversarial = self.discriminator is not None and self.step_index >= config.adversarial_from
        with self.autocast():
            features, run = self._restore(clean, degraded, latent)
            seen = self.objective.see(run)
            fake_logits = real_logits = None
            if adversarial:
                fake, real = self._judged(run, seen)
                # For both steps: the discriminator stays as it is until its own. Its spectral norms are followed once.
                real_logits = self.discriminator.requires_grad_(True).train()(real)
                fake_logits = self.discriminator.requires_grad_(False).eval()(fake)
            total, report = self.objective(run, seen, fake_logits, real_logits.detach() if adversarial else None)
        self.generator_optimizer.zero_grad(set_to_none=True)
        self.backward(total)
        average_gradients_(self.generator.parameters())
        if config.clip_norm:
            # Group by group: the latent code's and the output's gradients are a hundred times larger than all others
            # and vary as much, and a common norm would hand that on to everything.
            norms = [
                nn.utils.clip_grad_norm_(group["params"], config.clip_norm, foreach=True)
                for group in self.generator_optimizer.param_groups
            ]
            report["gradient_norm"] = torch.stack(norms).norm().detach()
        self.generator_optimizer.step()
        self._update_memory(features)
        self.averaged.update(self.generator)
        if adversarial:
            report |= self._discriminator_step(_detached(fake), real, real_logits)
        self.step_index += 1
        return report

    def _restore(self, clean: Tensor, degraded: Tensor, latent: Tensor | None) -> tuple[dict[int, Tensor], Pass]:
        """The generator's forward pass, of which training needs the parts too; encoder features first."""
        config, generator, size = self.config, self.generator, clean.shape[-1]
        focus = draw_focus(config.component_share, self.random)
        window = draw_window(config.window, config.window_scale, size, self.random, focus)
        encoded = generator.encode(degraded, window)
        found = encoded.latent
        if self.objective.match_weight:
            encoded = encoded._replace(latent=found.detach())
        decoded: dict[int, Tensor] = {}
        image = generator.decode(encoded, window, keep=decoded)
        valid = valid_region(window, size, config.window_margin)
        region = valid.within(window, size)
        mirrored = valid.crop(self.restore_mirrored(degraded, window)) if config.mirror_weight else None
        return encoded.features, Pass(
            clean, degraded, region, valid.crop(image), decoded, found, latent, mirrored, focus
        )

    @torch.no_grad()
    def restore_mirrored(self, degraded: Tensor, window: Window | None) -> Tensor:
        """What the averaged weights make of the mirror images, mirrored back.

        What a face shows is the same both ways round; of what is made up, two runs make two different things. A network
        that is held to the other run makes up less of it, without a truth to learn by heart: the mean teacher of
        Tarvainen and Valpola (2017), with the one symmetry that a face has.

        Args:
            degraded: (B, 3, S, S) in [-1, 1].
            window: part of the picture, as it lies in ``degraded``.

        Returns:
            (B, 3, S, S), or the window of it; without gradient.
        """
        mirrored = None if window is None else window.mirrored
        return self.averaged.network(degraded.flip(-1), window=mirrored).image.flip(-1)

    def _judged(self, run: Pass, seen: Seen) -> tuple[Judged, Judged]:
        """What the discriminator is shown of a forward pass: restored, true."""
        if self.config.discriminator_kind == "features":
            fake, real = seen.perceptual
            if self.config.discriminator_semantic:
                fake, real = fake + seen.semantic[0], real + seen.semantic[1]
            self.discriminator.observe_(real)
            return fake, real
        crop = run.draw_region(self.config.discriminator_size, self.random)
        return crop.crop(run.restored), crop.crop(run.target)

    @torch.no_grad()
    def _update_memory(self, features: dict[int, Tensor]) -> None:
        for name, bank in self.generator.memory.items():
            decay = bank.decay
            if self.config.memory_warmup:
                decay = min(decay, (100 + self.step_index) / (101 + self.step_index))
            sample = self._sampled(features[int(name)].detach())
            bank.update_(all_reduce_statistics(bank.statistics(sample)), decay)

    def _sampled(self, features: Tensor) -> Tensor:
        """A regular grid of at most ``memory_positions`` positions, at a random offset."""
        limit = self.config.memory_positions
        stride = 1
        while limit is not None and (features.shape[-1] // stride) ** 2 > limit and stride < features.shape[-1]:
            stride *= 2
        top, left = torch.randint(0, stride, (2,), generator=self.random).tolist()
        return features[..., top::stride, left::stride]

    def _discriminator_step(self, fake: Judged, real: Judged, real_logits: Tensor) -> dict[str, Tensor]:
        config = self.config
        self.discriminator.requires_grad_(True)
        with self.autocast():
            # A pass of its own, so that the minibatch statistic never mixes real and restored faces.
            loss = discriminator_loss(real_logits, self.discriminator(fake), paired=config.adversarial_paired)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        self.backward(loss)
        report = {"discriminator": loss.detach()}
        penalized = config.r1_gamma and config.discriminator_kind == "picture"  # features: by spectral normalization
        if penalized and self.step_index % config.r1_every == 0:
            # Double backward in full precision; added to the same step, so that Adam sees one gradient.
            real = real.detach().float().requires_grad_()
            penalty = r1_penalty(self.discriminator(real), real)
            self.backward(penalty * (config.r1_gamma / 2 * config.r1_every))
            report["r1"] = penalty.detach()
        average_gradients_(self.discriminator.parameters())
        self.discriminator_optimizer.step()
        return report


def _detached(judged: Judged) -> Judged:
    """Without the generator's graph; pictures in full precision."""
    return judged.detach().float() if isinstance(judged, Tensor) else [tap.detach() for tap in judged]
