"""Groups the generator's parameters by their learning rate."""

import math
from typing import Any

from torch import nn

from memgan.network.model import MemGAN

LATENT_RATE = 0.0005
"""Relative rate of the latent code's layers. Thousands of inputs add up to one latent number, which enters every style:
a step of 1e-4 on all of these weights changes the loss ten times more than on any level of the encoder, so that at the
common rate the latent code is another one after every update and the rest of the network chases it."""
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
    root of their inputs: the equalized learning rate of StyleGAN, without its scaled weights. At one rate for all, the
    narrow layers of the large scales hardly move while the wide ones swing.
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
