"""Degrades clean faces by seed: by Eq. 14 (blur, downsampling, noise, JPEG, upsampling), or as old photographs."""

from memgan.degradation.aged import Aging, age_seeded, thumbnail
from memgan.degradation.eq14 import (
    Degradation,
    DegradationParameters,
    apply_degradation,
    degrade_seeded,
    draw_parameters,
    gaussian_blur,
)
from memgan.degradation.jpeg import Codec, jpeg_real, jpeg_simulated

__all__ = [
    "Aging",
    "Codec",
    "Degradation",
    "DegradationParameters",
    "age_seeded",
    "apply_degradation",
    "degrade_seeded",
    "draw_parameters",
    "gaussian_blur",
    "jpeg_real",
    "jpeg_simulated",
    "thumbnail",
]
