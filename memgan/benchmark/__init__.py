"""Measures time and memory of each part of a restorer and of other networks, and how near they are to the peak."""

from memgan.benchmark.compare import ReportComparison, compare_checkouts, compare_reports
from memgan.benchmark.report import BenchmarkReport, Measurement
from memgan.benchmark.run import run_benchmark
from memgan.benchmark.scaling import write_scaling_plot
from memgan.benchmark.settings import Options, Setup
from memgan.benchmark.table import comparison_table, report_table

__all__ = [
    "BenchmarkReport",
    "Measurement",
    "Options",
    "ReportComparison",
    "Setup",
    "compare_checkouts",
    "compare_reports",
    "comparison_table",
    "report_table",
    "run_benchmark",
    "write_scaling_plot",
]
