"""``memgan convert``: turns a pickled weight file of facexlib or memgan into a safetensors file."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = (
        "Only this command (and `memgan prior import`, for StyleGAN2) opens pickled files that are not known by their "
        "SHA-256, and with torch's restricted reader: code in them is refused, not run. Mind the license of what you "
        "convert."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a .pth file with one of facexlib's networks or with weights of memgan that another program has saved, or "
        "the name of one of facexlib's (see `memgan models`), which is downloaded if need be",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=".safetensors file to write (for a name: default in memgan's cache, where it is then preferred)",
    )
    parser.add_argument("--kind", metavar="NAME", help="which network (default: found out from the tensors)")


def run(args: argparse.Namespace) -> int:
    """Convert the file; the exit status."""
    from memgan.faces.facexlib_adapter import convert

    print(f"written to {convert(args.source, args.output, kind=args.kind)}")
    return 0
