"""``memgan average``: writes the mean of two weight files."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "One of the two should have been trained from the other (`memgan train --start-from`), or both from a third. "
        "Measure the mean with `memgan evaluate`."
    )
    parser.add_argument("first", metavar="FIRST", help="name, file, folder or owner/repo; gives the metadata")
    parser.add_argument("second", metavar="SECOND", help="weights of the same configuration")
    parser.add_argument("--share", type=float, required=True, metavar="S", help="share of SECOND in the mean, 0 to 1")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".safetensors file to write")
    parser.add_argument("--full-precision", action="store_true", help="store float32 (default: matrices in float16)")


def run(args: argparse.Namespace) -> int:
    from memgan import hub
    from memgan.hub.average import averaged

    mean = averaged(hub.load(args.first), hub.load(args.second), args.share)
    path = hub.save(args.output, mean.config, mean.state, mean.metadata, half=not args.full_precision)
    print(f"written to {path}")
    return 0
