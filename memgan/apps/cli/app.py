"""``memgan app``: open a page on which photographs are restored."""

import argparse

from memgan.apps.cli.arguments import add_options, options_from
from memgan.apps.files.restore_options import PartOptions
from memgan.apps.web.options import AppOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = "Nothing leaves this machine: the page and all that it shows come from it alone."
    parser.add_argument(
        "--hash-password", action="store_true", help="ask for a password, print its hash for the file of --auth, end"
    )
    add_options(parser, AppOptions, PartOptions, groups=("page", "faces", "looks", "work"))


def run(args: argparse.Namespace) -> int:
    """Serve the page until a signal ends it."""
    if args.hash_password:
        from memgan.apps.web.accounts import ask_and_print_hash

        ask_and_print_hash()
        return 0
    options, parts = options_from(args, AppOptions), options_from(args, PartOptions)
    from memgan.apps.web.server import serve

    return serve(options, parts)
