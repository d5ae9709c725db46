"""``memgan train``: train a network."""

import argparse
import json
import logging
import textwrap
from pathlib import Path

from memgan.errors import ConfigError
from memgan.training.config import TrainConfig, recipe, recipe_names
from memgan.training.settings import parse_change

DEFAULT_RECIPE = "memgan-mobile-512"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    add_run_arguments(parser)
    parser.add_argument("--print-config", action="store_true", help="print all settings as a JSON recipe and stop")
    parser.add_argument("--resume", type=Path, help="run or checkpoint to continue")
    parser.add_argument("--start-from", type=Path, help="weight file to start from, with fresh optimizers")
    parser.add_argument("--discriminator-from", type=Path, help="discriminator.safetensors of a run to start from")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every training run needs: paths, the recipe and changes of it; the help explains every setting."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = ["settings (names for --set, with types and the defaults that a recipe may change):"]
    for name, kind, default, text in TrainConfig.describe():
        lines.append(f"  {name} ({kind}, default {json.dumps(default)})")
        lines += textwrap.wrap(text, 96, initial_indent="      ", subsequent_indent="      ")
    parser.epilog = "\n".join(lines)
    parser.add_argument("--faces", type=Path, nargs="*", default=[], help="folders or tar files of clean aligned faces")
    parser.add_argument("--prior", type=Path, help="imported prior, see `memgan prior import`")
    parser.add_argument("-o", "--output", type=Path, help="the run's folder")
    parser.add_argument(
        "--recipe",
        default=DEFAULT_RECIPE,
        metavar="NAME|FILE",
        help=f"settings: {', '.join(recipe_names())}, or a JSON file (default: {DEFAULT_RECIPE})",
    )
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="settings that differ from the recipe, such as losses.checkerboard=800 run.minutes=None; may be repeated",
    )
    parser.add_argument("--perceptual-weights", type=Path, help="file of the perceptual loss's network")
    parser.add_argument(
        "--identity-network",
        type=Path,
        help="recognition network (torch.export) of the identity loss; such files can run code: trust its origin",
    )


def config_from(args: argparse.Namespace) -> TrainConfig:
    """The recipe with the settings that were given."""
    return recipe(args.recipe, dict(parse_change(text) for text in args.set))


def run(args: argparse.Namespace) -> int:
    """Train as the arguments say; returns the exit status."""
    config = config_from(args)
    if args.print_config:
        print(config.to_json())
        return 0
    if args.output is None:
        raise ConfigError("Where to train is not given: name the run's folder with -o.")
    from memgan.training.engine import train

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    path = train(
        config,
        args.faces,
        args.prior,
        args.output,
        perceptual_weights=args.perceptual_weights,
        identity_weights=args.identity_network,
        resume=args.resume,
        start_from=args.start_from,
        discriminator_from=args.discriminator_from,
    )
    print(path)
    return 0
