"""``memgan benchmark``: time and memory of each part of a restoration, and how two versions differ in them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memgan.benchmark import Options

_SETUP = ("weights", "dtype", "photo", "faces", "upscale")
_OPTIONS = ("only", "against", "devices", "backends", "batches", "repeats", "warmup", "threads", "memory", "pictures")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``; what is left out is as in :class:`memgan.benchmark.Options`."""
    parser.argument_default = argparse.SUPPRESS
    add = parser.add_argument
    add("--weights", metavar="NAME|FILE", help="as for restore (default: the embedded weights)")
    add(
        "--only",
        nargs="+",
        metavar="STAGE",
        help="out of: network, detect, align, paste, rest (enhance without the network), enhance, roofline (the "
        "network's operations at the measured peak of the machine), scaling (many small pictures); default: all but "
        "scaling",
    )
    add(
        "--against",
        nargs="+",
        metavar="NETWORK",
        help="compare with these alternately: gfpgan, codeformer, restoreformer, a preset (random weights), "
        "self-ensemble (these weights with the mirror image), or [NAME=]MODULE:CALLABLE on (B, 3, 512, 512) RGB in "
        "[-1, 1]",
    )
    add(
        "--compare",
        nargs=2,
        default=None,
        metavar=("A", "B"),
        help="compare two JSON files of earlier runs (nothing is measured), or two checkouts of memgan, which are "
        "measured alternately with these options; --output writes the comparison",
    )
    add("--rounds", type=int, default=None, metavar="N", help="processes of each checkout to compare (default: 5)")
    add("--batch", dest="batches", nargs="+", type=int, metavar="N", help="batch sizes (default: 1 4)")
    add("--repeats", type=int, metavar="N", help="rounds that count (default: 7; 3 in each process of --compare)")
    add("--warmup", type=int, metavar="N", help="rounds before them (default: 1)")
    add(
        "--device", dest="devices", nargs="+", metavar="DEVICE", help="such as cpu cuda (default: CUDA if there is one)"
    )
    add("--backend", dest="backends", nargs="+", metavar="BACKEND", help="torch, onnx (default: torch)")
    add("--dtype", help="float32, bfloat16, float16 (default: float32)")
    add("--threads", type=int, metavar="N", help="threads and cores to use (default: all)")
    add("--photo", metavar="FILE", help="picture to restore (default: a drawn one)")
    add("--size", default="1920x1080", metavar="WxH", help="of the drawn one (default: 1920x1080)")
    add("--faces", type=int, metavar="N", help="in the drawn one (default: 1)")
    add("-s", "--upscale", type=float, help="of the result (default: 1)")
    add(
        "--no-memory",
        dest="memory",
        action="store_false",
        default=True,
        help="do not measure peak memory, which takes seconds each",
    )
    add("--pictures", type=int, metavar="N", help="most pictures of scaling (default: 1000)")
    add("--plot", type=Path, default=None, metavar="FILE", help="plot the curves of scaling: .png, .pdf or .svg")
    add("-o", "--output", type=Path, default=None, metavar="JSON", help="also write all figures")


def run(args: argparse.Namespace) -> int:
    """Measure or compare, and print the tables; the exit status."""
    from memgan.errors import ConfigError
    from memgan.runtime.atomic_file import write_json

    for file in (args.output, args.plot):
        if file is not None and not file.parent.is_dir():  # known before the work, not after it
            raise ConfigError(f"There is no folder {file.parent} for {file.name}; make it first.")
    if args.rounds is not None and not args.compare:
        raise ConfigError("--rounds is for --compare with two checkouts; --repeats repeats a benchmark's own rounds.")
    figures = _compared(args) if args.compare else _measured(args)
    if args.output:
        write_json(args.output, figures)
    return 0


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    from memgan.benchmark import report_table, run_benchmark, write_scaling_plot
    from memgan.benchmark.plot import new_figure
    from memgan.errors import ConfigError

    options = _options(args)
    if args.plot:
        if "scaling" not in options.only:
            raise ConfigError("--plot draws scaling: add scaling to --only.")
        new_figure()  # that matplotlib is there is known before the work, too
    report = run_benchmark(options, progress=_show)
    print(report_table(report))
    if args.plot and report.scaling is not None:
        write_scaling_plot(report.scaling, args.plot)
    return report.to_dict()


def _compared(args: argparse.Namespace) -> dict[str, Any]:
    from memgan.benchmark import compare_checkouts, compare_reports, comparison_table
    from memgan.benchmark.settings import ROUNDS, TIMED_STAGES
    from memgan.errors import ConfigError

    if args.plot:
        raise ConfigError("--plot draws scaling, which --compare does not measure; leave one of them out.")
    a, b = args.compare
    folders = [side for side in (a, b) if Path(side).is_dir()]
    if len(folders) == 1:
        raise ConfigError(
            f"--compare is given {a} and {b}, of which only {folders[0]} is a folder; give two checkouts, or two JSON "
            "files: `memgan benchmark -o FILE` writes the missing one."
        )
    if folders:
        rounds = ROUNDS if args.rounds is None else args.rounds
        options = _options(args, only=TIMED_STAGES, repeats=3)
        compared = compare_checkouts(a, b, options, rounds=rounds, progress=_show)
    elif args.rounds is not None:
        raise ConfigError("--rounds is for --compare with two checkouts; two JSON files are compared as they are.")
    else:
        compared = compare_reports(a, b)
    print(comparison_table(compared))
    return compared.to_dict()


def _options(args: argparse.Namespace, **defaults: Any) -> "Options":
    from memgan.benchmark import Options, Setup
    from memgan.errors import ConfigError

    width, _, height = args.size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--size is {args.size!r}; give width x height in pixels, such as 1920x1080.")
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(args).items()
    }
    setup = {name: given[name] for name in _SETUP if name in given}
    chosen = defaults | {name: given[name] for name in _OPTIONS if name in given}
    return Options(Setup(width=int(width), height=int(height), **setup), **chosen)


def _show(line: str) -> None:
    print(f"measuring {line}", file=sys.stderr, flush=True)
