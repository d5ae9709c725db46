"""``memgan verify``: checks that weight files are whole, and whether they are the published ones."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit status 1 if a file is damaged, missing, or not what its name says. Nothing is downloaded."
    weights_help = "published name, file or folder (default: all published weights on this machine)"
    parser.add_argument("weights", nargs="*", metavar="NAME|FILE", help=weights_help)


def run(args: argparse.Namespace) -> int:
    from memgan import hub
    from memgan.errors import MemGANError
    from memgan.hub.weight_file import files_of

    names = args.weights or [name for name, spec in hub.REGISTRY.items() if hub.where(spec)[1] is not None]
    failed = 0
    for name in names:
        try:
            # Offline: a damaged file is to be reported, not replaced.
            print("\n".join(map(_verdict, files_of(hub.resolve(name, offline=True)))))
        except MemGANError as error:
            failed += 1
            print(f"memgan: {name}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _verdict(path: Path) -> str:
    from memgan import hub
    from memgan.errors import ChecksumError
    from memgan.hub.resolver import SOURCE_KEY
    from memgan.hub.tensor_file import read_metadata

    sha256 = hub.sha256_of(path)
    names = {spec.sha256: name for name, spec in hub.REGISTRY.items()}
    namesake = next((spec for spec in hub.REGISTRY.values() if spec.filename == path.name), None)
    if sha256 in names:
        verdict = f"is the published {names[sha256]!r}"
    elif namesake is not None:
        raise ChecksumError(
            f"{path} is called as the published {namesake.name!r}, but is not: its SHA-256 is {sha256}, registered "
            f"is {namesake.sha256}. Fetch it again, or give it another name."
        )
    elif path.suffix == ".safetensors":
        source = names.get(read_metadata(path).get(SOURCE_KEY, ""))
        verdict = f"is whole, converted from the published {source!r}" if source else "is whole, not published"
    else:
        verdict = "is not published, and nothing says whether it is whole"
    return f"{path}: {verdict} (SHA-256 {sha256})"
