"""``memgan verify``: checks that weight files are whole, and whether they are the published ones."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memgan.hub import WeightSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = "Exit status 1 if a file is damaged, missing, or not what its name says. Nothing is downloaded."
    parser.add_argument(
        "weights",
        nargs="*",
        metavar="NAME|FILE",
        help="published name, file or folder (default: all published weights on this machine)",
    )


def run(args: argparse.Namespace) -> int:
    """Check the files; the exit status."""
    from memgan import hub
    from memgan.errors import MemGANError

    names = args.weights or [name for name, spec in hub.REGISTRY.items() if hub.where(spec)[1] is not None]
    failed = 0
    for name in names:
        try:
            spec = hub.REGISTRY.get(name)
            lines = _published(spec) if spec is not None else _files(name)
        except MemGANError as error:
            failed += 1
            print(f"memgan: {name}: {error}", file=sys.stderr)
            continue
        print("\n".join(lines))
    return 1 if failed else 0


def _published(spec: "WeightSpec") -> list[str]:
    from memgan import hub

    # Offline: a damaged file is to be reported, not replaced.
    path = hub.resolve(spec.name, offline=True)
    return [f"{path}: is the published {spec.name!r} (SHA-256 {spec.sha256})"]


def _files(name: str) -> list[str]:
    """Look at the parts of what a path means."""
    from memgan import hub
    from memgan.errors import ChecksumError
    from memgan.hub.tensor_file import read_header
    from memgan.hub.weight_file import files_of

    lines = []
    for path in files_of(hub.resolve(name, offline=True)):
        sha256 = hub.sha256_of(path)
        same = next((spec.name for spec in hub.REGISTRY.values() if spec.sha256 == sha256), None)
        if same is not None:
            lines.append(f"{path}: is the published {same!r} (SHA-256 {sha256})")
            continue
        namesake = next((spec for spec in hub.REGISTRY.values() if spec.filename == Path(path).name), None)
        if namesake is not None:
            raise ChecksumError(
                f"{path} is called as the published {namesake.name!r}, but is not: its SHA-256 is {sha256}, registered "
                f"is {namesake.sha256}. Fetch it again, or give it another name."
            )
        if path.suffix == ".safetensors":
            made_of = read_header(path).get("__metadata__", {}).get("source_sha256")
            source = next((spec.name for spec in hub.REGISTRY.values() if spec.sha256 == made_of), None)
            note = f"converted from the published {source!r}" if source else "not published"
            lines.append(f"{path}: is whole, {note} (SHA-256 {sha256})")
        else:
            lines.append(f"{path}: is not published, and nothing says whether it is whole (SHA-256 {sha256})")
    return lines
