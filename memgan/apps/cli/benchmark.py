"""``memgan benchmark``: time and memory of each part of a restoration, and how two versions differ in them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memgan.benchmark import Options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.add_argument("--weights", metavar="NAME|FILE", help="as for restore (default: the embedded weights)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="STAGE",
        help="out of: network, detect, align, paste, rest (enhance without the network), enhance, floor (the network's "
        "work at the measured peak of the machine), growth (many small pictures); default: all but growth",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="NETWORK",
        help="compare with these in turn: gfpgan, codeformer, restoreformer, a preset (random weights), "
        "self-ensemble (these weights with the mirror image), or [NAME=]MODULE:CALLABLE on (B, 3, 512, 512) RGB in "
        "[-1, 1]",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="compare two JSON files of earlier runs (nothing is measured), or two checkouts of memgan, which are "
        "measured alternately with these options; --output writes the comparison",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="processes of each checkout to compare (default: 5)")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4], metavar="N", help="batch sizes (default: 1 4)")
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="rounds that count (default: 7; 3 in each process of --compare)"
    )
    parser.add_argument("--warmup", type=int, default=1, metavar="N", help="rounds before them (default: 1)")
    parser.add_argument("--device", nargs="+", default=[None], help="such as cpu cuda (default: CUDA if there is one)")
    parser.add_argument("--backend", nargs="+", default=["torch"], help="torch, onnx (default: torch)")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16, float16 (default: float32)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads and cores to use (default: all)")
    parser.add_argument("--photo", metavar="FILE", help="picture to restore (default: a drawn one)")
    parser.add_argument("--size", default="1920x1080", metavar="WxH", help="of the drawn one (default: 1920x1080)")
    parser.add_argument("--faces", type=int, default=1, metavar="N", help="in the drawn one (default: 1)")
    parser.add_argument("-s", "--upscale", type=float, default=1.0, help="of the result (default: 1)")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory, which takes seconds each")
    parser.add_argument(
        "--pictures", type=int, default=1000, metavar="N", help="most pictures of growth (default: 1000)"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw growth's curves")
    parser.add_argument("-o", "--output", type=Path, metavar="JSON", help="also write all figures")


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
    from memgan.benchmark import DEFAULT_STAGES, run_benchmark, text_table, write_growth_plot
    from memgan.errors import ConfigError

    options = _options(args, DEFAULT_STAGES, repeats=7)
    if args.plot and "growth" not in options.only:
        raise ConfigError("--plot draws growth: add growth to --only.")
    report = run_benchmark(options, progress=_show)
    print(text_table(report))
    if args.plot and report.growth is not None:
        write_growth_plot(report.growth, args.plot)
    return report.to_dict()


def _compared(args: argparse.Namespace) -> dict[str, Any]:
    from memgan.benchmark import ROUNDS, TIMED_STAGES, compare_checkouts, compare_reports, comparison_table
    from memgan.errors import ConfigError

    if args.plot:
        raise ConfigError("--plot draws growth, which --compare does not measure; leave one of them out.")
    a, b = args.compare
    folders = [side for side in (a, b) if Path(side).is_dir()]
    if len(folders) == 1:
        raise ConfigError(
            f"--compare is given {a} and {b}, of which only {folders[0]} is a folder; give two checkouts, or two JSON "
            "files: `memgan benchmark -o FILE` writes the missing one."
        )
    if folders:
        options = _options(args, TIMED_STAGES, repeats=3)
        rounds = ROUNDS if args.rounds is None else args.rounds
        compared = compare_checkouts(a, b, options, rounds=rounds, progress=_show)
    elif args.rounds is not None:
        raise ConfigError("--rounds is for --compare with two checkouts; two JSON files are compared as they are.")
    else:
        compared = compare_reports(a, b)
    print(comparison_table(compared))
    return compared.to_dict()


def _options(args: argparse.Namespace, stages: tuple[str, ...], repeats: int) -> "Options":
    from memgan.benchmark import Options, Setup

    width, height = _size(args.size)
    return Options(
        setup=Setup(
            weights=args.weights,
            dtype=args.dtype,
            photo=args.photo,
            width=width,
            height=height,
            faces=args.faces,
            upscale=args.upscale,
        ),
        only=tuple(args.only or stages),
        against=tuple(args.against),
        devices=tuple(args.device),
        backends=tuple(args.backend),
        batches=tuple(args.batch),
        repeats=repeats if args.repeats is None else args.repeats,
        warmup=args.warmup,
        threads=args.threads,
        memory=not args.no_memory,
        pictures=args.pictures,
    )


def _size(text: str) -> tuple[int, int]:
    from memgan.errors import ConfigError

    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--size is {text!r}; give width x height in pixels, such as 1920x1080.")
    return int(width), int(height)


def _show(line: str) -> None:
    print(f"measuring {line}", file=sys.stderr, flush=True)
