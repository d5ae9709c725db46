"""Evaluates restorers, which are any callables: metrics, tables, contact sheets and memory diagnostics."""

from memgan.evaluation.harm import HarmRow, harm_table, measure_harm
from memgan.evaluation.memory_diagnostics import MemoryDiagnoser, MemoryDiagnostics
from memgan.evaluation.metrics.fidelity import psnr, ssim
from memgan.evaluation.metrics.identity import IdentityDistance
from memgan.evaluation.metrics.niqe import niqe
from memgan.evaluation.metrics.registry import METRICS, Metric, MetricInfo, MetricSet, choose_metrics
from memgan.evaluation.metrics.set_distances import frechet_distance, kernel_distance
from memgan.evaluation.networks.pooled import alex_features, enlite0_features
from memgan.evaluation.networks.stlpips import STLPIPS
from memgan.evaluation.plots import check_dial_metrics, new_figure, write_dial_plot, write_reliability_plot
from memgan.evaluation.reliability import ReliabilityFigures, Tenth, measure_reliability, reliability_table
from memgan.evaluation.results import EvaluationResult, FaceScores, Spread, result_table
from memgan.evaluation.run import EvaluatedFace, evaluate, evaluate_real, face_seed, import_restorer
from memgan.evaluation.sheets import write_contact_sheet, write_memory_sheet

__all__ = [
    "METRICS",
    "STLPIPS",
    "EvaluatedFace",
    "EvaluationResult",
    "FaceScores",
    "HarmRow",
    "IdentityDistance",
    "MemoryDiagnoser",
    "MemoryDiagnostics",
    "Metric",
    "MetricInfo",
    "MetricSet",
    "ReliabilityFigures",
    "Spread",
    "Tenth",
    "alex_features",
    "check_dial_metrics",
    "choose_metrics",
    "enlite0_features",
    "evaluate",
    "evaluate_real",
    "face_seed",
    "frechet_distance",
    "harm_table",
    "import_restorer",
    "kernel_distance",
    "measure_harm",
    "measure_reliability",
    "new_figure",
    "niqe",
    "psnr",
    "reliability_table",
    "result_table",
    "ssim",
    "write_contact_sheet",
    "write_dial_plot",
    "write_memory_sheet",
    "write_reliability_plot",
]
