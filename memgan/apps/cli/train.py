"""``memgan train``: train a network."""

import argparse
import dataclasses
import logging
import types
import typing
from pathlib import Path
from typing import Any

from memgan.training.config import TrainConfig
from memgan.training.recipes import RECIPES, recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add paths and one option per field of :class:`TrainConfig`; an option not given keeps the preset's recipe."""
    parser.add_argument("--faces", type=Path, nargs="*", default=[], help="folders or tar files of clean aligned faces")
    parser.add_argument("--prior", type=Path, help="imported prior, see `memgan prior import`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the run's folder")
    parser.add_argument("--perceptual-weights", type=Path, help="file of the perceptual loss's network")
    parser.add_argument("--identity-network", type=Path, help="recognition network (torch.export) of the identity loss")
    parser.add_argument("--resume", type=Path, help="run or checkpoint to go on with")
    parser.add_argument("--start-from", type=Path, help="weight file to start from, with fresh optimizers")
    parser.add_argument("--discriminator-from", type=Path, help="discriminator.safetensors of a run to start from")
    parser.add_argument(
        "--prior-above",
        type=int,
        metavar="PX",
        help="with --start-from: scales above this one begin anew from the prior",
    )
    hints = typing.get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        name = "--" + field.name.replace("_", "-")
        hint = hints[field.name]
        options: dict[str, Any] = {"dest": f"set_{field.name}", "default": None}
        if hint is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(hint) is typing.Literal:
            options["choices"] = typing.get_args(hint)
        elif field.name == "preset":
            options |= {"choices": sorted(RECIPES)}
        elif typing.get_origin(hint) is tuple:
            options |= {"nargs": "*", "metavar": "NAME=VALUE"}
        else:
            options["type"] = _scalar(hint)
        parser.add_argument(
            name, help=f"default: {field.default}, unless the preset's recipe says otherwise", **options
        )


def _scalar(hint: Any) -> type:
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return hint


def config_from(args: argparse.Namespace) -> TrainConfig:
    """The preset's recipe with the options that were given."""
    given = {
        name.removeprefix("set_"): value
        for name, value in vars(args).items()
        if name.startswith("set_") and value is not None
    }
    chosen = given.pop("preset", "memgan-mobile-512")
    return recipe(chosen, **given)


def run(args: argparse.Namespace) -> int:
    """Train as the arguments say; returns the exit status."""
    from memgan.training.engine import train

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    path = train(
        config_from(args),
        args.faces,
        args.prior,
        args.output,
        perceptual_weights=args.perceptual_weights,
        identity_weights=args.identity_network,
        resume=args.resume,
        start_from=args.start_from,
        discriminator_from=args.discriminator_from,
        prior_above=args.prior_above,
    )
    print(path)
    return 0
