"""``memgan restore``: restore the faces of picture files."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from memgan.apps.cli.restore_files import COMPARED, CROPPED, PICTURES, RESTORED
from memgan.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from memgan.apps.cli.inputs import InputPicture
    from memgan.apps.cli.restore_files import Entry
    from memgan.restoration.restorer import MemGANRestorer

DETECTORS = ("embedded", "retinaface_mobile0.25", "retinaface_resnet50")
MASKS = ("soft", "parsenet", "bisenet")
DTYPES = ("float32", "float16", "bfloat16", "auto")
BACKENDS = ("torch", "onnx", "auto")
EXTENSIONS = ("auto", "png", "jpg", "webp", "tif", "bmp", "avif", "heic")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = (
        f"Results: DIR/{PICTURES} (whole pictures), DIR/{RESTORED}, DIR/{CROPPED} (aligned faces before), "
        f"DIR/{COMPARED} (before and after, side by side). Options of GFPGAN's and CodeFormer's programs may be "
        "spelled as there."
    )
    parser.set_defaults(usage_error=parser.error)
    _add_files(parser)
    _add_faces(parser)
    _add_looks(parser)
    _add_work(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("files").add_argument
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="picture file or folder of pictures")
    add("-i", "--input", action="append", default=[], type=Path, metavar="INPUT", help="the same, with a name")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results; made if missing")
    add("-r", "--recursive", action="store_true", help="also look into folders of the input folders")
    add("--suffix", default="", metavar="TEXT", help="added to the names of restored files: NAME_TEXT.png")
    add("--ext", choices=EXTENSIONS, default="auto", help=f"file type of {PICTURES} (default: auto, as the input)")
    add("--no-faces", action="store_true", help=f"write {PICTURES} only")
    add("--skip-existing", action="store_true", help="leave out inputs whose result is there already")
    add("--report", type=Path, metavar="FILE", help="write what was done as JSON")
    add("-q", "--quiet", action="store_true", help="report problems only")


def _add_faces(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("faces").add_argument
    add("--aligned", "--has_aligned", action="store_true", help="the inputs are aligned faces: no detection")
    add(
        "--only-center-face",
        "--only_center_face",
        action="store_true",
        help="restore only the face nearest to the middle",
    )
    add("--face-index", type=_indices, metavar="N[,N]", help="restore only these faces, from 0, the largest first")
    add(
        "--detector",
        "--detection_model",
        choices=DETECTORS,
        default="embedded",
        help="face detector (default: embedded)",
    )
    add("--detector-weights", metavar="DIR", help="folder with facexlib's detector files (default: its cache)")
    add("--score-threshold", type=float, metavar="P", help="leave out less certain faces, 0 to 1")
    add("--min-eye-distance", type=float, default=5.0, metavar="PX", help="leave out smaller faces (default: 5)")
    add(
        "--min-face-size", type=float, default=0.0, metavar="PX", help="leave out faces with a smaller box (default: 0)"
    )
    add("--max-face-size", type=float, metavar="PX", help="leave larger faces as they are (default: restore all)")


def _add_looks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("looks").add_argument
    add(
        "-w",
        "--weight",
        type=_strength,
        default=1.0,
        metavar="W",
        help="strength of the restoration, 0 (input) to 1 (full; default)",
    )
    add("-s", "--upscale", type=float, default=1.0, metavar="X", help="enlarge the picture X times (default: 1)")
    add(
        "--bg-upsampler",
        "--bg_upsampler",
        default="none",
        metavar="NAME",
        help="enlarge the background with realesrgan (a checkpoint on this machine), or with that of a .pth or "
        ".safetensors file; none (default): a Lanczos filter",
    )
    add(
        "--bg-tile",
        "--bg_tile",
        type=int,
        default=400,
        metavar="PX",
        help="side of the parts it works on; 0: the whole picture (default: 400)",
    )
    add("--mask", choices=MASKS, default="soft", help="part of a restored face that is pasted (default: soft)")
    add("--no-color-lock", action="store_true", help="take the colors of faces from the network, not from the input")
    add("--grain", type=float, default=0.5, metavar="G", help="share of lost grain to give back (default: 0.5)")


def _add_work(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("work").add_argument
    add("--weights", metavar="WEIGHTS", help="name, .safetensors file or folder (default: the embedded weights)")
    add("--device", metavar="DEVICE", help="such as cpu, cuda, cuda:1, mps (default: cuda if there is one, else cpu)")
    add("--dtype", choices=DTYPES, help="precision of the network (float16: CUDA only; default: float32)")
    add("--half", action="store_true", help="the same as --dtype float16")
    add(
        "--self-ensemble",
        action="store_true",
        help="average with the restored mirror image: truer, calmer, softer, twice the network's time",
    )
    add("--backend", choices=BACKENDS, default="torch", help="what runs the network on a CPU (default: torch)")
    add(
        "-j",
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="pictures worked on at the same time, by threads that share the cores and the weights; 0: one per core, "
        "at most 4; each more than one takes about 300 MB, for pictures of over 8 megapixels more (default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Restore all inputs; 0 if all went well, 1 if some were skipped."""
    from tqdm import tqdm

    from memgan.apps.cli.inputs import collect_inputs
    from memgan.apps.cli.restore_files import Report
    from memgan.image import all_suffixes

    args.inputs = [*args.inputs, *args.input]
    if not args.inputs:
        args.usage_error("the following arguments are required: INPUT (or -i INPUT)")
    _check(args)
    _prepare(args.output)
    if args.report is not None:
        _prepare(args.report.parent)
    folders = [args.output / name for name in (PICTURES, RESTORED, CROPPED, COMPARED)]
    inputs, problems = collect_inputs(args.inputs, all_suffixes(), recursive=args.recursive, own=folders)
    for problem in problems:
        _print_problem(problem)
    report = Report(args, problems)
    try:
        with contextlib.closing(_work(inputs, args)) as entries:
            hide_progress = args.quiet or not sys.stderr.isatty()
            for entry in tqdm(entries, total=len(inputs), unit="picture", disable=hide_progress):
                report.add(entry)
                if entry.problem is not None:
                    with tqdm.external_write_mode(file=sys.stderr):
                        _print_problem(f"{entry.input}: skipped: {entry.problem}")
    finally:
        if args.report is not None:
            report.write(args.report)
    if inputs and not args.quiet:
        print(report.summary(len(inputs)))
    return 1 if problems or report.num_failed else 0


def _work(inputs: "Sequence[InputPicture]", args: argparse.Namespace) -> "Iterator[Entry]":
    from memgan.apps.cli.jobs import cores_shared, number_of_jobs
    from memgan.apps.cli.restore_files import FileRestorer

    jobs = number_of_jobs(args.jobs, len(inputs))
    with cores_shared(jobs):
        if inputs:
            yield from FileRestorer(_make_restorer(args), args, jobs).run(inputs)


def _make_restorer(args: argparse.Namespace) -> "MemGANRestorer":
    from memgan.faces import create_detector
    from memgan.restoration.restorer import MemGANRestorer
    from memgan.runtime.device import choose_device

    detector = args.detector
    if args.detector_weights is not None:
        detector = create_detector(detector, device=choose_device(args.device), weights_dir=args.detector_weights)
    upsampler = None
    if args.bg_upsampler.lower() != "none":
        from memgan.restoration.spandrel_upsampler import SpandrelUpsampler

        upsampler = SpandrelUpsampler(args.bg_upsampler, device=args.device, tile=args.bg_tile)
    return MemGANRestorer(
        args.weights,
        args.upscale,
        bg_upsampler=upsampler,
        device=args.device,
        detector=detector,
        half=args.half,
        dtype=args.dtype,
        backend=args.backend,
        self_ensemble=args.self_ensemble,
        score_threshold=args.score_threshold,
        min_eye_distance=args.min_eye_distance,
        min_face_size=args.min_face_size,
        max_face_size=args.max_face_size,
        mask=args.mask,
        color_lock=not args.no_color_lock,
        grain=args.grain,
    )


def _check(args: argparse.Namespace) -> None:
    if any(character in args.suffix for character in "/\\\0"):
        raise ConfigError(f"--suffix is {args.suffix!r}; it becomes part of file names: leave out slashes.")
    if args.aligned and args.no_faces:
        raise ConfigError("--aligned gives faces only and --no-faces none: leave one of them out.")
    if args.face_index is not None and (args.aligned or args.only_center_face):
        other = "--aligned" if args.aligned else "--only-center-face"
        raise ConfigError(f"--face-index and {other} both say which faces to restore: leave one of them out.")
    if args.jobs < 0:
        raise ConfigError(f"--jobs is {args.jobs}; allowed are whole numbers from 1, and 0 to choose by the cores.")


def _prepare(folder: Path) -> None:
    """Find out that nothing can be written before the work instead of after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write into the output folder {folder} ({error.strerror or error}); choose another with -o"
        ) from error


def _print_problem(problem: str) -> None:
    print(f"memgan: {problem}", file=sys.stderr)


def _strength(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def _indices(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError(f"{text} has a number below 0")
    return numbers
