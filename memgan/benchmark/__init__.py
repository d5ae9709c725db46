"""How fast and how large: each part of a restorer timed apart, other networks in turn, and the machine's floor."""

from memgan.benchmark.contenders import contender_names
from memgan.benchmark.plot import write_growth_plot
from memgan.benchmark.report import BenchmarkReport, Comparison, Measurement, NetworkCost
from memgan.benchmark.run import run_benchmark
from memgan.benchmark.settings import BACKENDS, DEFAULT_STAGES, STAGES, Options, Setup
from memgan.benchmark.table import text_table
from memgan.benchmark.timing import Spread, Timing, measure

__all__ = [
    "BACKENDS",
    "DEFAULT_STAGES",
    "STAGES",
    "BenchmarkReport",
    "Comparison",
    "Measurement",
    "NetworkCost",
    "Options",
    "Setup",
    "Spread",
    "Timing",
    "contender_names",
    "measure",
    "run_benchmark",
    "text_table",
    "write_growth_plot",
]
