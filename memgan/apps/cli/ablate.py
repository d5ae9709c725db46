"""``memgan ablate``: the cases of the paper's Table 2, trained alike and compared."""

import argparse
import logging
from pathlib import Path
from typing import Any

from memgan.apps.cli import train as training
from memgan.errors import ConfigError
from memgan.training.settings import parse_change


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to compare, and the arguments of each run; run.minutes or run.steps is the budget of each."""
    help_test = "clean faces to evaluate on, not to train on"
    parser.add_argument("--test", type=Path, nargs="+", required=True, metavar="FACES", help=help_test)
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="training seeds (default: 0,1,2)")
    parser.add_argument("--limit", type=int, metavar="N", help="only N test faces, spread evenly over the names")
    parser.add_argument("--metrics", metavar="NAMES", help="such as psnr,st_lpips (default: all that work here)")
    parser.add_argument(
        "--case",
        action="append",
        metavar="NAME[:CHANGE,CHANGE]",
        help="such as 'Case 2', or 'cooler:memory_temperature=0.1'; may be repeated (default: Cases 1 to 5)",
    )
    training.add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, evaluate and print the table; the exit status."""
    from memgan.evaluation import choose_metrics
    from memgan.runtime.checks import parse_ints
    from memgan.training.ablation import CASES, ablate, ablation_table
    from memgan.training.build import architecture

    if args.output is None:
        raise ConfigError("Where to train is not given: name a folder for the runs with -o.")
    logging.basicConfig(level=logging.WARNING)
    config = training.config_from(args)
    names = args.metrics.split(",") if args.metrics is not None else None
    results = ablate(
        config,
        args.faces,
        args.prior,
        args.test,
        args.output,
        seeds=parse_ints("--seeds", args.seeds),
        cases=dict(_case(text, CASES) for text in args.case) if args.case else CASES,
        limit=args.limit,
        metrics=choose_metrics(names, size_px=architecture(config).image_size),
        perceptual_weights=args.perceptual_weights,
        identity_weights=args.identity_network,
    )
    print(ablation_table(results))
    return 0


def _case(text: str, known: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Name and changes of a case, from ``NAME`` or ``NAME:CHANGE,CHANGE``."""
    name, colon, changes = text.partition(":")
    if colon:
        return name, dict(parse_change(change) for change in changes.split(",") if change)
    if name not in known:
        raise ConfigError(f"--case {text!r} is none of {', '.join(known)}; give its changes after a colon.")
    return name, known[name]
