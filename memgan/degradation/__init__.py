"""The synthetic degradation of Eq. 14: blur, shrink, noise, JPEG and enlarge, seeded per picture."""

from memgan.degradation.eq14 import (
    Codec,
    Degradation,
    DegradationParameters,
    apply_degradation,
    degrade,
    degrade_one,
    degrade_seeded,
    draw_parameters,
    gaussian_blur,
)
from memgan.degradation.jpeg import jpeg_real, jpeg_simulated

__all__ = [
    "Codec",
    "Degradation",
    "DegradationParameters",
    "apply_degradation",
    "degrade",
    "degrade_one",
    "degrade_seeded",
    "draw_parameters",
    "gaussian_blur",
    "jpeg_real",
    "jpeg_simulated",
]
