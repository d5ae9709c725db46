"""Quality of restored faces: metrics, tables and a look into the memory; restorers are passed in as callables."""

from memgan.evaluation.alexnet import PooledAlexNet
from memgan.evaluation.choice import METRICS, MetricInfo, MetricSet, choose_metrics
from memgan.evaluation.efficientnet import EfficientNetLite0
from memgan.evaluation.files import write_json
from memgan.evaluation.frechet import frechet_distance
from memgan.evaluation.health import MemoryHealth, MemoryHealthMeter, memory_health
from memgan.evaluation.identity import IdentityDistance
from memgan.evaluation.kernel import kernel_distance
from memgan.evaluation.memory_sheet import write_memory_sheet
from memgan.evaluation.metrics import psnr, ssim
from memgan.evaluation.naturalness import niqe
from memgan.evaluation.real import evaluate_real
from memgan.evaluation.restoration import evaluate, face_seed
from memgan.evaluation.restorers import import_restorer
from memgan.evaluation.scores import EvaluationResult, FaceScores, Spread
from memgan.evaluation.sheets import write_contact_sheet
from memgan.evaluation.source import PictureSource
from memgan.evaluation.stlpips import STLPIPS
from memgan.evaluation.table import text_table
from memgan.evaluation.tally import FacePictures

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
    "write_json",
    "write_memory_sheet",
]
