"""Quality of restored faces: metrics, tables and a look into the memory; restorers are passed in as callables."""

from memgan.evaluation.accumulator import FacePictures
from memgan.evaluation.memory_diagnostics import MemoryHealth, MemoryHealthMeter, memory_health
from memgan.evaluation.memory_sheet import write_memory_sheet
from memgan.evaluation.metrics.fidelity import psnr, ssim
from memgan.evaluation.metrics.frechet import frechet_distance
from memgan.evaluation.metrics.identity import IdentityDistance
from memgan.evaluation.metrics.kernel import kernel_distance
from memgan.evaluation.metrics.niqe import niqe
from memgan.evaluation.metrics.registry import METRICS, MetricInfo, MetricSet, choose_metrics
from memgan.evaluation.networks.alexnet import PooledAlexNet
from memgan.evaluation.networks.efficientnet import EfficientNetLite0
from memgan.evaluation.networks.stlpips import STLPIPS
from memgan.evaluation.restorers import import_restorer
from memgan.evaluation.results import EvaluationResult, FaceScores, Spread
from memgan.evaluation.run import evaluate, face_seed
from memgan.evaluation.run_real import evaluate_real
from memgan.evaluation.sheets import write_contact_sheet
from memgan.evaluation.table import text_table
from memgan.image.collection import PictureSource

__all__ = [
    "METRICS",
    "STLPIPS",
    "EfficientNetLite0",
    "EvaluationResult",
    "FacePictures",
    "FaceScores",
    "IdentityDistance",
    "MemoryHealth",
    "MemoryHealthMeter",
    "MetricInfo",
    "MetricSet",
    "PictureSource",
    "PooledAlexNet",
    "Spread",
    "choose_metrics",
    "evaluate",
    "evaluate_real",
    "face_seed",
    "frechet_distance",
    "import_restorer",
    "kernel_distance",
    "memory_health",
    "niqe",
    "psnr",
    "ssim",
    "text_table",
    "write_contact_sheet",
    "write_memory_sheet",
]
