"""The ``memgan`` command. Exit status: 0 all done, 1 some inputs failed, 2 nothing could be done, 128 and the number
of a signal that ended it."""

import argparse
import difflib
import importlib.util
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from memgan.errors import MemGANError
from memgan.runtime.streams import drop_what_is_left, lenient_streams, open_missing_streams
from memgan.version import __version__

COMMANDS = {
    "restore": "restore the faces of photographs and films",
    "app": "open a page on which photographs are restored",
    "models": "list the published weights: size, license, metrics, and where they are",
    "download": "fetch published weights, or a model of the Hugging Face hub",
    "check": "find out whether a device restores faces right: a stored one against its stored answer",
    "verify": "check weight files against their published SHA-256",
    "info": "show configuration, size and cost of a network, and versions",
    "convert": "turn a pickled weight file of facexlib or memgan into safetensors",
    "export": "write a network as one ONNX file for other programs",
    "evaluate": "measure a network on clean faces that are degraded with fixed seeds",
    "benchmark": "time each part of a restoration, and other networks in comparison",
    "prior": "import a pretrained face generator to train from",
    "train": "train a network",
    "average": "write the mean of two weight files, one of which was trained from the other",
    "ablate": "train a network without its parts, one by one, and compare (Table 2)",
}
"""Each is a module of :mod:`memgan.apps.cli`, or an app (a folder of :mod:`memgan.apps`), with two functions:
``add_arguments(parser)`` and ``run(args) -> int``."""

PRINTING = ("models", "check", "verify", "info", "evaluate", "benchmark")
"""Commands whose result is what they print."""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; only ``command``'s own arguments are added, so that no other module is loaded."""
    parser = _Parser(prog="memgan", description="Blind face restoration in whole photographs.")
    parser.add_argument("--version", action="version", version=f"memgan {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == command:
            app = f"memgan.apps.{name}"
            module = importlib.import_module(app if importlib.util.find_spec(app) else f"memgan.apps.cli.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
            parser.chosen = subparser
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where to look, instead of all words first."""

    chosen: argparse.ArgumentParser | None = None
    """Of the command that is run; argparse itself reports words that it does not know as those of the whole."""

    def error(self, message: str) -> NoReturn:
        parser = self.chosen or self
        hint = ""
        if unknown := re.match(r"unrecognized arguments: (--?[\w-]+)", message):
            words = [word for action in parser._actions for word in action.option_strings]
            close = difflib.get_close_matches(unknown[1], words, n=1)
            hint = f"; did you mean {close[0]}" if close else ""
        self.exit(2, f"{parser.prog}: error: {message}{hint}; see `{parser.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command with ``argv``, or the process's arguments, and return the exit status.

    What cannot be written to standard output or standard error is dropped: no work is lost to it. Only a command whose
    result is what it prints ends with status 1 then, unless the reader has left, as ``head`` does.

    Raises:
        SystemExit: on ``--help``, ``--version`` (status 0) and wrong usage (status 2).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    if argv is not None:
        return _run(command, arguments)
    open_missing_streams()
    if command and command != "benchmark":  # benchmarks measure what others get
        from memgan.runtime.allocator import keep_freed_memory

        keep_freed_memory()
    try:
        return _run(command, arguments)
    finally:
        drop_what_is_left()


def _run(command: str | None, arguments: Sequence[str]) -> int:
    with lenient_streams() as (out, err):
        try:
            args = build_parser(command).parse_args(arguments)
            status = int(args.run(args))
        except MemGANError as error:
            print(f"memgan: error: {error}", file=err)
            return 2
        except KeyboardInterrupt:
            print("memgan: interrupted; what was written so far is complete", file=err)
            return 130
        out.flush()
        if status == 0 and command in PRINTING and out.error is not None and not out.is_gone:
            print(f"memgan: error: standard output cannot be written ({out.error})", file=err)
            return 1
        return status
