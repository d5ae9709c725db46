"""Quality of restored faces: metrics and their table; restorers are passed in as callables."""

from memgan.evaluation.metrics import psnr, ssim
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
    "STLPIPS",
    "EvaluationResult",
    "FaceScores",
    "PictureSource",
    "evaluate",
    "face_seed",
    "psnr",
    "ssim",
    "standard_metrics",
    "write_contact_sheet",
]
