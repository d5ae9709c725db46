"""``memgan download``: fetches weights into the cache, or into a folder to take along."""

import argparse
import shutil
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name that `memgan models` lists, or owner/repo[@revision]")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="copy the files there (made if missing), for a machine without network"
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of the hub's repository")


def run(args: argparse.Namespace) -> int:
    from memgan import hub
    from memgan.hub.weight_file import files_of
    from memgan.runtime.atomic_file import atomic_write

    path = hub.resolve(args.name, revision=args.revision)
    if args.to is None:
        print(path)
        return 0
    for file in files_of(path):
        target = args.to / file.name
        if target.exists() and target.resolve() == file.resolve():
            continue
        with atomic_write(target, make_folders=True) as temporary:
            shutil.copyfile(file, temporary)
        print(target)
    return 0
