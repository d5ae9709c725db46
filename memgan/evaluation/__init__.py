"""Quality of restored faces: metrics and their table; restorers are passed in as callables."""

from memgan.evaluation.choice import METRICS, MetricInfo, MetricSet, choose_metrics
from memgan.evaluation.efficientnet import EfficientNetLite0
from memgan.evaluation.frechet import frechet_distance
from memgan.evaluation.identity import IdentityDistance
from memgan.evaluation.metrics import psnr, ssim
from memgan.evaluation.naturalness import niqe
from memgan.evaluation.restoration import (
    EvaluationResult,
    FaceScores,
    evaluate,
    face_seed,
    standard_metrics,
    write_contact_sheet,
)
from memgan.evaluation.source import PictureSource
from memgan.evaluation.stlpips import STLPIPS

__all__ = [
    "METRICS",
    "STLPIPS",
    "EfficientNetLite0",
    "EvaluationResult",
    "FaceScores",
    "IdentityDistance",
    "MetricInfo",
    "MetricSet",
    "PictureSource",
    "choose_metrics",
    "evaluate",
    "face_seed",
    "frechet_distance",
    "niqe",
    "psnr",
    "ssim",
    "standard_metrics",
    "write_contact_sheet",
]
