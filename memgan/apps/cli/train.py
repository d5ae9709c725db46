"""``memgan train``: train a network."""

import argparse
import json
import logging
import textwrap
from pathlib import Path
from typing import Any

from memgan.errors import ConfigError
from memgan.training.config import TrainConfig, recipe, recipe_names
from memgan.training.settings import parse_change

DEFAULT_RECIPE = "memgan-mobile-512"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    add_run_arguments(parser)
    parser.add_argument("--print-config", action="store_true", help="print all settings as a JSON recipe and stop")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="run or checkpoint to continue; settings, files and folder are the run's where none are given",
    )
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
    return recipe(args.recipe or DEFAULT_RECIPE, _changes(args))


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    return dict(parse_change(text) for text in args.set)


def run(args: argparse.Namespace) -> int:
    """Train as the arguments say; returns the exit status."""
    if args.resume is not None:
        return _resume(args)
    config = config_from(args)
    if args.print_config:
        print(config.to_json())
        return 0
    if args.output is None:
        raise ConfigError("Where to train is not given: name the run's folder with -o.")
    from memgan.training.engine import train

    _log()
    path = train(
        config,
        args.faces,
        args.prior,
        args.output,
        perceptual_weights=args.perceptual_weights,
        identity_weights=args.identity_network,
        start_from=args.start_from,
        discriminator_from=args.discriminator_from,
    )
    print(path)
    return 0


def _resume(args: argparse.Namespace) -> int:
    from memgan.training.checkpoint import find_checkpoint
    from memgan.training.engine import resume_run

    for option, path in (("--start-from", args.start_from), ("--discriminator-from", args.discriminator_from)):
        if path is not None:
            raise ConfigError(
                f"--resume {args.resume} continues with all that the run has learned; leave out {option}."
            )
    if args.print_config:
        base = recipe(args.recipe) if args.recipe else find_checkpoint(args.resume).config
        print(base.changed(_changes(args)).to_json())
        return 0
    _log()
    path = resume_run(
        args.resume,
        _changes(args),
        config=recipe(args.recipe) if args.recipe else None,
        output=args.output,
        faces=tuple(args.faces),
        prior=args.prior,
        perceptual_weights=args.perceptual_weights,
        identity_weights=args.identity_network,
    )
    print(path)
    return 0


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
