"""The synthetic degradation of Eq. 14 (blur, shrink, noise, JPEG, enlarge) and of old photographs, by seed."""

from memgan.degradation.aged import Ageing, age_seeded
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
from memgan.degradation.thumbnail import Thumbnail, thumbnail

__all__ = [
    "Ageing",
    "Codec",
    "Degradation",
    "DegradationParameters",
    "Thumbnail",
    "age_seeded",
    "apply_degradation",
    "degrade",
    "degrade_one",
    "degrade_seeded",
    "draw_parameters",
    "gaussian_blur",
    "jpeg_real",
    "jpeg_simulated",
    "thumbnail",
]
