"""``memgan ablate``: the cases of the paper's Table 2, trained alike and compared."""

import argparse
from pathlib import Path

from memgan.apps.cli import train as training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``memgan train``, and what to compare; ``--minutes`` or ``--steps`` is the budget of each run."""
    parser.add_argument(
        "--test", type=Path, nargs="+", required=True, metavar="FACES", help="clean faces to judge on, not trained on"
    )
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="training seeds (default: 0,1,2)")
    parser.add_argument("--limit", type=int, metavar="N", help="only N test faces, spread evenly over the names")
    parser.add_argument("--metrics", metavar="NAMES", help="such as psnr,st_lpips (default: all that work here)")
    parser.add_argument(
        "--case",
        action="append",
        metavar="NAME[:CHANGE,CHANGE]",
        help="'Case 2' of Table 2, or a case of one's own, such as 'cooler:memory_temperature=0.1'; may be repeated "
        "(default: Cases 1 to 5)",
    )
    training.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, judge and print the table; the exit status."""
    import logging

    from memgan.errors import ConfigError
    from memgan.evaluation import choose_metrics
    from memgan.runtime.atomic_file import atomic_write
    from memgan.runtime.checks import parse_ints
    from memgan.training.ablation import CASES, ablate, ablation_table
    from memgan.training.architecture import architecture

    for name in ("resume", "start_from", "discriminator_from"):
        if getattr(args, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} is for memgan train; every case of an ablation starts alike."
            )
    seeds = parse_ints("--seeds", args.seeds)
    cases = None
    if args.case:
        cases = {}
        for text in args.case:
            name, colon, changes = text.partition(":")
            if not colon and name not in CASES:
                raise ConfigError(f"--case {text!r} is none of {', '.join(CASES)}; give its changes after a colon.")
            cases[name] = tuple(part for part in changes.split(",") if part) if colon else CASES[name]
    logging.basicConfig(level=logging.WARNING)
    config = training.config_from(args)
    size = architecture(config).image_size
    names = args.metrics.split(",") if args.metrics is not None else None
    results = ablate(
        config,
        args.faces,
        args.prior,
        args.test,
        args.output,
        seeds=seeds,
        cases=cases,
        limit=args.limit,
        metrics=choose_metrics(names, size_px=size),
        perceptual_weights=args.perceptual_weights,
        identity_weights=args.identity_network,
    )
    table = ablation_table(results)
    with atomic_write(args.output / "ablation.md") as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    print(table)
    return 0
