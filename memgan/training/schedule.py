"""Computes a run's learning rate and progress from the steps and the time that have passed."""

import math

from memgan.training.config import TrainConfig


def rate_factor(step: int, progress: float, config: TrainConfig) -> float:
    """Learning rate relative to the configured one: linear warm-up, constant, cosine fall to a twentieth.

    Args:
        step: steps done.
        progress: share of the run that is done, 0 to 1.
        config: gives ``optimizer.warmup_steps`` and ``decay_from``.
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
        step: steps done.
        seconds: wall-clock time that the run has taken.
        first_step: of these, what the first step of this process took; zero before it.
        config: gives ``run.steps`` and ``run.minutes``.
    """
    by_steps = step / config.run.steps
    if config.run.minutes is None:
        return by_steps
    budget = 60 * config.run.minutes
    return 1.0 if seconds >= budget else max(by_steps, (seconds - first_step) / (budget - first_step))
