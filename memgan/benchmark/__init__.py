"""How fast and how large: each part of a restorer timed apart, other networks in turn, and the machine's roofline."""

from memgan.benchmark.baselines import baseline_names
from memgan.benchmark.compare import (
    ROUNDS,
    TIMED_STAGES,
    ReportComparison,
    Side,
    StageComparison,
    compare_checkouts,
    compare_reports,
)
from memgan.benchmark.plot import write_scaling_plot
from memgan.benchmark.report import BenchmarkReport, Comparison, Measurement, NetworkCost
from memgan.benchmark.run import run_benchmark
from memgan.benchmark.settings import BACKENDS, DEFAULT_STAGES, STAGES, Options, Setup
from memgan.benchmark.table import comparison_table, text_table
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
    "run_benchmark",
    "text_table",
    "write_scaling_plot",
]
