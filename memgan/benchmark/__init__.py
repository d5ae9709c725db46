"""Measures time and memory of each part of a restorer and of other networks, and how near they are to the peak."""

from memgan.benchmark.baselines import baseline_names
from memgan.benchmark.compare import (
    ROUNDS,
    ReportComparison,
    Side,
    StageComparison,
    compare_checkouts,
    compare_reports,
)
from memgan.benchmark.plot import write_scaling_plot
from memgan.benchmark.report import BenchmarkReport, Comparison, Measurement, NetworkCost
from memgan.benchmark.run import run_benchmark
from memgan.benchmark.settings import BACKENDS, DEFAULT_STAGES, STAGES, TIMED_STAGES, Options, Setup
from memgan.benchmark.table import comparison_table, report_table
from memgan.benchmark.timing import Spread, Timing, measure

__all__ = [
    "BACKENDS",
    "DEFAULT_STAGES",
    "ROUNDS",
    "STAGES",
    "TIMED_STAGES",
    "BenchmarkReport",
    "Comparison",
    "Measurement",
    "NetworkCost",
    "Options",
    "ReportComparison",
    "Setup",
    "Side",
    "Spread",
    "StageComparison",
    "Timing",
    "baseline_names",
    "compare_checkouts",
    "compare_reports",
    "comparison_table",
    "measure",
    "report_table",
    "run_benchmark",
    "write_scaling_plot",
]
