"""Runs one training step, without an engine: losses, gradients, memory, averaged weights."""

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from memgan.network.model import MemGAN
from memgan.training.config import TrainConfig
from memgan.training.discriminators import Discriminator, FeatureDiscriminator
from memgan.training.losses.adversarial import discriminator_loss, r1_penalty
from memgan.training.losses.objective import LossNetworks, Objective, Pass, check_window
from memgan.training.rates import LATENT_RATE, MATCHED_LATENT_RATE, parameter_groups
from memgan.training.sync import all_reduce_statistics, average_, average_gradients_, broadcast_, rank
from memgan.training.window import draw_focus, draw_window, valid_area

DiscriminatorInput = Tensor | list[Tensor]
"""What the discriminator sees: pictures, or the taps of their features."""

LLOYD_STEPS = 4
"""Full moves of the slots to the means of their features before the first step."""


class AveragedWeights:
    """Exponential moving average of a generator's parameters; its buffers are copied, as the memory averages itself.

    The decay after n updates is ``(1 + n) / (10 + n)``, but at most ``decay``.
    """

    def __init__(self, generator: MemGAN, decay: float) -> None:
        self.network = copy.deepcopy(generator).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, generator: MemGAN) -> None:
        """Follow one step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(mine, [parameter.detach() for parameter in generator.parameters()], 1 - decay)
        for buffer, source in zip(self.network.buffers(), generator.buffers(), strict=True):
            buffer.copy_(source)


class Trainer:
    """Networks, optimizers and the order of things within a step.

    Args:
        config: the settings.
        generator: not wrapped: gradients are averaged over processes here, because parameters that
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
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
        autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        check_window(config, generator.config.image_size)
        optimizer = config.optimizer
        self.config = config
        self.generator = generator
        self.discriminator = discriminator
        self.backward = backward
        self.autocast = autocast
        # Every process looks at windows of its own: the same ones would be one place seen through more faces.
        self.random = torch.Generator().manual_seed(config.run.seed * 1000 + rank())
        self.objective = Objective(config, networks or LossNetworks(), self.random)
        self.averaged = AveragedWeights(generator, optimizer.ema_decay)
        self.prior_parameters, groups = parameter_groups(
            generator, optimizer.prior_rate, MATCHED_LATENT_RATE if self.objective.matches_prior else LATENT_RATE
        )
        for group in groups:
            group["lr"] = optimizer.learning_rate * group["relative"]
        fused = next(generator.parameters()).device.type == "cuda"  # one kernel a group instead of twelve
        adam = functools.partial(torch.optim.Adam, fused=fused, foreach=not fused)
        self.generator_optimizer = adam(groups, betas=(optimizer.beta1, optimizer.beta2))
        self.discriminator_optimizer = None
        if discriminator is not None:
            rate = optimizer.learning_rate * config.discriminator.rate
            self.discriminator_optimizer = adam(discriminator.parameters(), lr=rate, betas=(0.0, 0.99))
        self.step_index = 0
        self.skipped = 0
        """Steps that changed nothing, because a loss or gradient was not finite."""
        self.skipped_in_a_row = 0

    @torch.no_grad()
    def initialize_memory(self, degraded: Tensor) -> None:
        """Draw every bank's slots from the features of a batch, the same in all processes."""
        with self.autocast():
            features = self.generator.encoder(degraded)
        for name, bank in self.generator.memory.items():
            bank.initialize_(features[int(name)])
            for _ in range(LLOYD_STEPS):
                bank.update_(bank.statistics(self._sampled(features[int(name)])), decay=0.0)
            bank.usage.zero_()
            broadcast_(bank.buffers())
        self.averaged = AveragedWeights(self.generator, self.config.optimizer.ema_decay)

    def set_rate(self, factor: float, progress: float = 0.0) -> None:
        """Scale the configured learning rates by ``factor``; the prior stays frozen for its first steps.

        ``progress`` is the share of the run that is done, 0 to 1.
        """
        self.objective.set_progress(progress)
        optimizer = self.config.optimizer
        frozen = self.step_index < optimizer.prior_frozen_steps
        for parameter in self.prior_parameters:
            parameter.requires_grad_(not frozen and optimizer.prior_rate > 0)
        for group in self.generator_optimizer.param_groups:
            group["lr"] = optimizer.learning_rate * factor * group["relative"]
        if self.discriminator_optimizer is not None:
            for group in self.discriminator_optimizer.param_groups:
                group["lr"] = optimizer.learning_rate * self.config.discriminator.rate * factor

    def step(self, clean: Tensor, degraded: Tensor, latent: Tensor | None = None) -> dict[str, Tensor]:
        """Update generator, discriminator, memory and averaged weights; losses by name, detached scalars.

        If a loss or a gradient is not finite, in whichever process, all processes leave everything as it is, and the
        report is ``skipped`` = 1 alone; otherwise it is 0, among the others. Such a step counts as a step.

        Args:
            clean, degraded: (B, 3, S, S) in [-1, 1].
            latent: (N, D) latent codes of the last N faces, if the prior drew them.
        """
        discriminator = self.judge
        judged = [] if discriminator is None else list(discriminator.buffers())
        judged_before = [buffer.clone() for buffer in judged]  # judging moves them
        report, features = self.gradients(clean, degraded, latent)
        # Group by group: the latent code's and the output's gradients are a hundred times larger than all others.
        norm = _clip_(self.generator_optimizer, self.config.optimizer.clip_norm or math.inf)
        report["gradient_norm"] = norm
        checked = [norm, report["loss"]]
        if discriminator is not None:
            optimizer = cast("torch.optim.Optimizer", self.discriminator_optimizer)
            checked += [_clip_(optimizer, math.inf), report["discriminator"]]
        # Means over the processes, so that what one of them cannot use none uses.
        if not average_(torch.stack([value.float() for value in checked])).isfinite().all():
            for buffer, before in zip(judged, judged_before, strict=True):
                buffer.copy_(before)
            self.step_index += 1
            self.skipped += 1
            self.skipped_in_a_row += 1
            return {"skipped": torch.ones(())}
        self.skipped_in_a_row = 0
        self.generator_optimizer.step()
        if not self.config.memory.frozen:
            self._update_memory(features)
        self.averaged.update(self.generator)
        if discriminator is not None:
            optimizer.step()
        self.step_index += 1
        return {**report, "skipped": torch.zeros(())}

    @property
    def judge(self) -> nn.Module | None:
        """The discriminator, if this step has an adversarial loss."""
        return self.discriminator if self.step_index >= self.config.losses.adversarial_from else None

    def gradients(
        self, clean: Tensor, degraded: Tensor, latent: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Mapping[int, Tensor]]:
        """The first part of :meth:`step`: gradients of generator and discriminator, averaged over the processes.

        Returns:
            losses by name, and the encoder's features.
        """
        discriminator = self.judge
        with self.autocast():
            features, run = self._restore(clean, degraded, latent)
            run = self.objective.look(run)
            if discriminator is not None:
                fake, real = self._discriminator_inputs(run)
                # For both steps: the discriminator stays as it is until its own. Its spectral norms are followed once.
                real_logits = discriminator.requires_grad_(True).train()(real)
                fake_logits = discriminator.requires_grad_(False).eval()(fake)
                truth = real_logits.detach() if self.config.losses.adversarial_paired else None
                run = run._replace(fake_logits=fake_logits, real_logits=truth)
            total, report = self.objective(run)
        self.generator_optimizer.zero_grad(set_to_none=True)
        self.backward(total)
        average_gradients_(self.generator.parameters())
        if discriminator is not None:
            report |= self._discriminator_gradients(discriminator, _detached(fake), real, real_logits)
        return report, features

    def _restore(self, clean: Tensor, degraded: Tensor, latent: Tensor | None) -> tuple[Mapping[int, Tensor], Pass]:
        """The generator's forward pass, of which training needs the intermediate features too; encoder's first."""
        settings, generator, size = self.config.window, self.generator, clean.shape[-1]
        focus = draw_focus(settings.component_focus, self.random)
        window = draw_window(settings.size, settings.scale, size, self.random, focus)
        encoded = generator.encode(degraded, window)
        latent_pred = encoded.latent
        if self.objective.matches_prior:
            encoded = encoded._replace(latent=latent_pred.detach())
        decoded: dict[int, Tensor] = {}
        image = generator.decode(encoded, window, keep=decoded)
        valid = valid_area(window, size, settings.margin)
        area = valid.within(window, size)
        return encoded.features, Pass(clean, degraded, area, valid.crop(image), decoded, latent_pred, latent, focus)

    def _discriminator_inputs(self, run: Pass) -> tuple[DiscriminatorInput, DiscriminatorInput]:
        """Restored and true pictures or features of a forward pass."""
        settings = self.config.discriminator
        if isinstance(self.discriminator, FeatureDiscriminator):
            fake, real = run.taps
            if settings.deep_features:
                fake, real = fake + run.deep_taps[0], real + run.deep_taps[1]
            self.discriminator.observe_(real)
            return fake, real
        crop = run.draw_area(cast(Discriminator, self.discriminator).image_size, self.random)
        return crop.crop(run.restored), crop.crop(run.target)

    @torch.no_grad()
    def _update_memory(self, features: Mapping[int, Tensor]) -> None:
        for name, bank in self.generator.memory.items():
            decay = bank.decay
            if self.config.memory.warmup:
                decay = min(decay, (100 + self.step_index) / (101 + self.step_index))
            sample = self._sampled(features[int(name)].detach())
            bank.update_(all_reduce_statistics(bank.statistics(sample)), decay)

    def _sampled(self, features: Tensor) -> Tensor:
        """A regular grid of at most ``memory.positions`` positions, at a random offset."""
        limit = self.config.memory.positions
        stride = 1
        while limit is not None and (features.shape[-1] // stride) ** 2 > limit and stride < features.shape[-1]:
            stride *= 2
        top, left = torch.randint(0, stride, (2,), generator=self.random).tolist()
        return features[..., top::stride, left::stride]

    def _discriminator_gradients(
        self, discriminator: nn.Module, fake: DiscriminatorInput, real: DiscriminatorInput, real_logits: Tensor
    ) -> dict[str, Tensor]:
        settings, paired = self.config.discriminator, self.config.losses.adversarial_paired
        optimizer = cast("torch.optim.Optimizer", self.discriminator_optimizer)
        discriminator.requires_grad_(True)
        with self.autocast():
            # A separate pass, so that the minibatch statistic never mixes real and restored faces.
            loss = discriminator_loss(real_logits, discriminator(fake), paired=paired)
        optimizer.zero_grad(set_to_none=True)
        self.backward(loss)
        report = {"discriminator": loss.detach()}
        # Features have spectral normalization in place of R1.
        if isinstance(real, Tensor) and settings.r1_gamma and self.step_index % settings.r1_every == 0:
            # Double backward in full precision; added to the same gradient, so that Adam sees one.
            real = real.detach().float().requires_grad_()
            penalty = r1_penalty(discriminator(real), real)
            self.backward(penalty * (settings.r1_gamma / 2 * settings.r1_every))
            report["r1"] = penalty.detach()
        average_gradients_(discriminator.parameters())
        return report


def _clip_(optimizer: torch.optim.Optimizer, largest: float) -> Tensor:
    """Limit the gradient's norm of each group of parameters; the norm of all of them before, detached."""
    groups = [group["params"] for group in optimizer.param_groups]
    norms = [nn.utils.clip_grad_norm_(group, largest, foreach=True) for group in groups]
    device = groups[0][0].device
    return torch.stack([norm.to(device) for norm in norms]).norm().detach()  # a frozen group's is on the CPU


def _detached(shown: DiscriminatorInput) -> DiscriminatorInput:
    """Without the generator's graph; pictures in full precision."""
    return shown.detach().float() if isinstance(shown, Tensor) else [tap.detach() for tap in shown]
