"""``memgan prior import``: reads a public generator's weights into one safetensors file."""

import argparse
from pathlib import Path

KINDS = ("mobile", "stylegan2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    importer = actions.add_parser(
        "import",
        help="import a prior",
        description="Import a pretrained face generator, to start training from. Mind its license: weights trained "
        "from FFHQ generators are for non-commercial use.",
    )
    importer.add_argument(
        "kind",
        choices=KINDS,
        metavar="KIND",
        help="mobile: MobileStyleGAN, out of the PyPI package random-face; "
        "stylegan2: a checkpoint (.pth, .pt, .safetensors) in the layout of rosinality or BasicSR",
    )
    importer.add_argument(
        "--source",
        type=Path,
        metavar="PATH",
        help="mobile: the package's wheel or folder (default: the installed package); stylegan2: the checkpoint",
    )
    importer.add_argument(
        "--max-size", type=int, default=512, metavar="PX", help="stylegan2: leave out larger levels (default: 512)"
    )
    importer.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".safetensors file to write")


def run(args: argparse.Namespace) -> int:
    from memgan.training.priors import import_prior

    path = import_prior(args.kind, args.source, args.output, max_size=args.max_size)
    print(f"prior written to {path}")
    return 0
