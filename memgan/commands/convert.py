"""``memgan convert``: turn a pickled weight file of another project into a safetensors file."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = (
        "Only this command (and `memgan prior import`) opens pickled files that are not known by their SHA-256, and "
        "with torch's restricted reader: code in them is refused, not run. Mind the licence of what you convert."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a .pth or .pt file: a StyleGAN2 generator (rosinality, BasicSR) or one of facexlib's networks; or the "
        "name of one of facexlib's files (see `memgan models`), which is downloaded if need be",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=".safetensors file to write (for a name: default in memgan's cache, where it is then preferred)",
    )
    parser.add_argument("--kind", metavar="KIND", help="stylegan2 or a name (default: found out from the tensors)")
    parser.add_argument(
        "--max-size", type=int, default=512, metavar="PX", help="stylegan2: leave out larger levels (default: 512)"
    )


def run(args: argparse.Namespace) -> int:
    """Convert the file; the exit status."""
    from memgan.convert import convert

    path = convert(args.source, args.output, kind=args.kind, max_size=args.max_size)
    print(f"written to {path}")
    return 0
