"""``memgan benchmark``: time and memory of each part of a restoration, and how two versions differ in them."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memgan.errors import ConfigError
from memgan.runtime.atomic_file import write_json
from memgan.runtime.choices import DTYPES

if TYPE_CHECKING:
    from memgan.benchmark import Options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``; what is left out is as in :class:`memgan.benchmark.Options`."""
    parser.argument_default = argparse.SUPPRESS
    add = parser.add_argument
    add("--weights", metavar="NAME|FILE", help="as for restore (default: the embedded weights)")
    add(
        "--only",
        nargs="+",
        metavar="STAGE",
        help="network, detect, align, paste, rest (enhance without the network), enhance, roofline (operations at the "
        "peak of the machine), scaling (many small pictures); default: all but scaling",
    )
    add(
        "--against",
        nargs="+",
        metavar="NETWORK",
        help="gfpgan, codeformer, restoreformer, a preset (random weights), self-ensemble (these weights with the "
        "mirror image), reliability (the estimator of errors alone), or [NAME=]MODULE:CALLABLE on (B, 3, 512, 512) RGB "
        "in [-1, 1], alternately with the restorer's",
    )
    add(
        "--compare",
        nargs=2,
        default=None,
        metavar=("A", "B"),
        help="compare two JSON files of earlier runs, or measure two checkouts of memgan alternately",
    )
    add("--rounds", type=int, default=None, metavar="N", help="processes of each checkout to compare (default: 5)")
    add("--batch", dest="batches", nargs="+", type=int, metavar="N", help="batch sizes (default: 1 4)")
    add("--repeats", type=int, metavar="N", help="rounds that count (default: 7; 3 in each process of --compare)")
    add("--warmup", type=int, metavar="N", help="rounds before them (default: 1)")
    add("--device", dest="devices", nargs="+", metavar="DEVICE", help="cpu, cuda, ... (default: CUDA if there is one)")
    add("--backend", dest="backends", nargs="+", metavar="BACKEND", help="torch, onnx, openvino (default: torch)")
    add("--provider", metavar="NAME", help="as for restore, for the backends besides torch (default: CPU)")
    add(
        "--dtype",
        dest="dtypes",
        nargs="+",
        choices=DTYPES,
        help="as for restore, also of other networks (default: auto)",
    )
    add("--threads", type=int, metavar="N", help="threads and cores to use (default: all)")
    add("--photo", metavar="FILE", help="picture to restore (default: a drawn one)")
    add("--size", default="1920x1080", metavar="WxH", help="of the drawn one (default: 1920x1080)")
    add("--faces", type=int, metavar="N", help="in the drawn one (default: 1)")
    add("-s", "--upscale", type=float, help="of the result (default: 1)")
    add("--no-memory", dest="memory", action="store_false", help="leave out peak memory, which takes seconds each")
    add("--pictures", type=int, metavar="N", help="most pictures of scaling (default: 1000)")
    add("--plot", type=Path, default=None, metavar="FILE", help="plot the curves of scaling: .png, .pdf or .svg")
    add("-o", "--output", type=Path, default=None, metavar="JSON", help="also write all figures")


def run(args: argparse.Namespace) -> int:
    """Measure or compare, and print the tables; the exit status."""
    for file in (args.output, args.plot):
        if file is not None and not file.parent.is_dir():  # known before the work, not after it
            raise ConfigError(f"There is no folder {file.parent} for {file.name}; make it first.")
    folders = [side for side in args.compare or () if Path(side).is_dir()]
    if len(folders) == 1:
        raise ConfigError(
            f"--compare is given {' and '.join(args.compare)}, of which only {folders[0]} is a folder; give two "
            "checkouts, or two JSON files: `memgan benchmark -o FILE` writes the missing one."
        )
    if args.rounds is not None and not folders:
        raise ConfigError("--rounds is for --compare with two checkouts; --repeats repeats a benchmark's own rounds.")
    if args.plot and (args.compare or "scaling" not in getattr(args, "only", ())):
        raise ConfigError("--plot draws scaling: add scaling to --only, and leave --compare out.")
    figures = _compared(args) if args.compare else _measured(args)
    if args.output:
        write_json(args.output, figures)
    return 0


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    from memgan.benchmark import report_table, run_benchmark, write_scaling_plot
    from memgan.evaluation import new_figure

    if args.plot:
        new_figure()  # that matplotlib is there is known before the work, too
    report = run_benchmark(_options(args), progress=_show)
    print(report_table(report))
    if report.scaling is not None and args.plot:
        write_scaling_plot(report.scaling, args.plot)
    return report.to_dict()


def _compared(args: argparse.Namespace) -> dict[str, Any]:
    from memgan.benchmark import compare_checkouts, compare_reports, comparison_table
    from memgan.benchmark.settings import ROUNDS, TIMED_STAGES

    a, b = args.compare
    if Path(a).is_dir():
        rounds = ROUNDS if args.rounds is None else args.rounds
        options = _options(args, only=TIMED_STAGES, repeats=3)
        compared = compare_checkouts(a, b, options, rounds=rounds, progress=_show)
    else:
        compared = compare_reports(a, b)
    print(comparison_table(compared))
    return compared.to_dict()


def _options(args: argparse.Namespace, **defaults: Any) -> "Options":
    from memgan.benchmark import Options, Setup

    width, _, height = args.size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--size is {args.size!r}; give width x height in pixels, such as 1920x1080.")
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(args).items()
    }
    given |= {"width": int(width), "height": int(height)}
    setup, chosen = (
        {field.name: given[field.name] for field in dataclasses.fields(kind) if field.name in given}
        for kind in (Setup, Options)
    )
    return Options(Setup(**setup), **defaults | chosen)


def _show(line: str) -> None:
    print(f"measuring {line}", file=sys.stderr, flush=True)
