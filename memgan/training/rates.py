"""Computes learning rates: of each group of the generator's parameters, and over the steps and minutes of a run."""

import math
from typing import Any

from torch import nn

from memgan.network.model import MemGAN
from memgan.training.config import TrainConfig

LATENT_RATE = 0.0005
"""Relative rate of the latent code's layers, whose thousands of inputs add up to numbers that enter every style."""
MATCHED_LATENT_RATE = 0.05
"""The same where the latent code learns from the prior's own codes alone, which do not swing."""
REFERENCE_FAN_IN = 1152
"""Inputs per output (128 channels, 3x3) of a convolution that gets the configured rate itself."""
MAX_RATE = 4.0
"""Largest relative rate."""


def parameter_groups(
    generator: MemGAN, prior_rate: float, latent_rate: float = LATENT_RATE
) -> tuple[list[nn.Parameter], list[dict[str, Any]]]:
    """The prior's parameters, and optimizer groups with their learning rates relative to the configured one.

    Layers that start from scratch get a rate in proportion to the size of their weights, which falls with the square
    root of their inputs: the equalized learning rate of StyleGAN, without its scaled weights.
    """
    last = f"decoder.blend.{generator.config.image_size}."
    prior: list[nn.Parameter] = []
    by_rate: dict[float, list[nn.Parameter]] = {}
    fan_in = REFERENCE_FAN_IN
    for name, parameter in generator.named_parameters():
        if parameter.ndim > 1:  # a bias follows its weight and shares its rate
            fan_in = parameter[0].numel()
        if name.startswith(("decoder.synthesis.", "latent.mapping.")):
            prior.append(parameter)
            rate = min(prior_rate, latent_rate) if name.startswith("latent.") else prior_rate
        elif name.startswith("latent.project."):
            rate = latent_rate
        else:
            rate = min(MAX_RATE, math.sqrt(REFERENCE_FAN_IN / fan_in))
            if name.startswith(last):
                rate *= generator.decoder.synthesis.last_blend_rate
        by_rate.setdefault(rate, []).append(parameter)
    return prior, [{"params": parameters, "relative": rate} for rate, parameters in by_rate.items()]


def rate_factor(step: int, progress: float, config: TrainConfig) -> float:
    """Learning rate relative to the configured one after ``step`` steps, at a share of the run of ``progress``.

    Linear warm-up, constant, cosine fall to a twentieth.
    """
    optimizer = config.optimizer
    factor = min(1.0, (step + 1) / optimizer.warmup_steps) if optimizer.warmup_steps else 1.0
    if progress > optimizer.decay_from:
        phase = min(1.0, (progress - optimizer.decay_from) / (1 - optimizer.decay_from))
        factor *= 0.05 + 0.95 * (1 + math.cos(math.pi * phase)) / 2
    return factor


def progress(step: int, seconds: float, first_step: float, config: TrainConfig) -> float:
    """Share of the run that is done, from 0; at 1 or above it ends, by whichever of steps and minutes comes first.

    What the first step of a process takes besides its work (networks are compiled, batches begun) is in the minutes,
    but makes no progress: otherwise a short run on a GPU would be at its falling rate before it has warmed up.

    Args:
        step, seconds: steps and wall-clock time that the run has taken.
        first_step: of these seconds, what the first step of this process took; zero before it.
        config: gives ``run.steps`` and ``run.minutes``.
    """
    by_steps = step / config.run.steps
    if config.run.minutes is None:
        return by_steps
    budget = 60 * config.run.minutes
    return 1.0 if seconds >= budget else max(by_steps, (seconds - first_step) / (budget - first_step))
