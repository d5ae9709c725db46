"""``memgan check``: restores a stored face on the device at hand, and compares it with the stored answer."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from memgan.apps.cli.arguments import add_options, options_from
from memgan.apps.files.restore_options import PartOptions, path_given
from memgan.runtime.options import option_of
from memgan.runtime.tables import text_table

if TYPE_CHECKING:
    from memgan.restoration.self_check import CheckResult

_GROUP = "work"
"""Of the options that say where and how a network runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exit status 1 if the face comes out wrong. `memgan restore` does the same before its first face and remembers "
        "the verdict; this one is new, and is remembered instead."
    )
    add_options(parser, PartOptions, groups=(_GROUP,))
    parser.add_argument(
        "--fidelity",
        type=float,
        default=0.0,
        metavar="F",
        help="check the network of this setting of the fidelity dial, 0 to 1 (default: 0)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--make",
        type=path_given,
        metavar="FILE",
        help="write the answer of these weights, computed in float32 on the CPU, as PNG: for weights that are to be "
        "published with memgan",
    )


def run(args: argparse.Namespace) -> int:
    parts = options_from(args, PartOptions)
    if args.make is not None:
        return _make(args.make, parts)
    from memgan.restoration.restorer import MemGANRestorer

    chosen = {field.name for field in dataclasses.fields(parts) if option_of(field).group == _GROUP}
    with MemGANRestorer(**{name: getattr(parts, name) for name in chosen}) as restorer:
        result = restorer.check(args.fidelity)
    if args.json:
        print(json.dumps(result.as_json() | {"is_right": result.is_right, "verdict": result.verdict}, indent=2))
    else:
        print(_as_text(result))
    return 0 if result.is_right else 1


def _make(path: Path, parts: PartOptions) -> int:
    from memgan import hub
    from memgan.network.model import build_memgan
    from memgan.restoration.self_check import write_answer

    checkpoint = hub.load(parts.weights)
    write_answer(path, build_memgan(checkpoint.config, checkpoint.state))
    print(f"written to {path}")
    return 0


def _as_text(result: "CheckResult") -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    rows = [
        ["device", f"{result.device}: {result.device_name}"],
        ["number type", result.dtype],
        ["backend", result.backend if result.provider is None else f"{result.backend} ({result.provider})"],
        ["versions", versions],
        ["seconds", f"{result.seconds:.3f} for a face"],
    ]
    return f"{text_table([], rows, left=2)}\n\n{result.verdict}"
