"""``memgan restore``: restore the faces of picture files."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from memgan.errors import ConfigError, ImageError, OutputError

if TYPE_CHECKING:
    import numpy as np

    from memgan.commands.inputs import InputPicture
    from memgan.image import Picture
    from memgan.restorer import MemGANRestorer

PICTURES, RESTORED, CROPPED, COMPARED = "restored_imgs", "restored_faces", "cropped_faces", "cmp"
DETECTORS = ("embedded", "retinaface_mobile0.25", "retinaface_resnet50")
EXTENSIONS = ("auto", "png", "jpg", "webp", "tif", "bmp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = (
        f"Results: DIR/{PICTURES} (whole pictures), DIR/{RESTORED}, DIR/{CROPPED} (aligned faces before), "
        f"DIR/{COMPARED} (before and after, side by side)."
    )
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="INPUT", help="picture file or folder of pictures")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results; made if missing")
    add("-r", "--recursive", action="store_true", help="also look into folders of the input folders")
    add("-s", "--upscale", type=float, default=1.0, metavar="X", help="enlarge the picture X times (default: 1)")
    add(
        "-w",
        "--weight",
        type=_strength,
        default=1.0,
        metavar="W",
        help="strength of the restoration, 0 (input) to 1 (full; default)",
    )
    add("--weights", metavar="WEIGHTS", help="name, .safetensors file or folder (default: the embedded weights)")
    add("--detector", choices=DETECTORS, default="embedded", help="face detector (default: embedded)")
    add("--detector-weights", metavar="DIR", help="folder with facexlib's detector files (default: its cache)")
    add("--device", metavar="DEVICE", help="such as cpu, cuda, cuda:1, mps (default: cuda if there is one, else cpu)")
    add("--half", action="store_true", help="half precision (CUDA only)")
    add("--aligned", action="store_true", help="the inputs are aligned faces: no detection, no whole picture")
    add("--only-center-face", action="store_true", help="restore only the face nearest to the middle")
    add("--score-threshold", type=float, metavar="P", help="leave out less certain faces, 0 to 1")
    add("--min-eye-distance", type=float, default=5.0, metavar="PX", help="leave out smaller faces (default: 5)")
    add("--no-faces", action="store_true", help=f"write {PICTURES} only")
    add("--suffix", default="", metavar="TEXT", help="added to the names of restored files: NAME_TEXT.png")
    add("--ext", choices=EXTENSIONS, default="auto", help=f"file type of {PICTURES} (default: auto, as the input)")
    add("-q", "--quiet", action="store_true", help="report problems only")


def run(args: argparse.Namespace) -> int:
    """Restore all inputs; 0 if all went well, 1 if some were skipped."""
    from tqdm import tqdm

    from memgan.commands.inputs import collect_inputs
    from memgan.faces import create_detector
    from memgan.image import IMAGE_SUFFIXES, load_picture
    from memgan.inference import choose_device
    from memgan.restorer import MemGANRestorer

    _check(args)
    _prepare(args.output)
    folders = [args.output / name for name in (PICTURES, RESTORED, CROPPED, COMPARED)]
    inputs, problems = collect_inputs(args.inputs, IMAGE_SUFFIXES, recursive=args.recursive, own=folders)
    for problem in problems:
        _report(problem)
    if not inputs:
        return 1
    detector = args.detector
    if args.detector_weights is not None:
        detector = create_detector(detector, device=choose_device(args.device), weights_dir=args.detector_weights)
    restorer = MemGANRestorer(
        args.weights,
        args.upscale,
        device=args.device,
        detector=detector,
        half=args.half,
        score_threshold=args.score_threshold,
        min_eye_distance=args.min_eye_distance,
    )
    num_faces = num_failed = 0
    hide_progress = args.quiet or not sys.stderr.isatty()
    for item in tqdm(inputs, unit="picture", disable=hide_progress):
        try:
            num_faces += _restore_one(item, load_picture(item.path), restorer, args)
        except ImageError as error:
            num_failed += 1
            with tqdm.external_write_mode(file=sys.stderr):
                _report(f"{item.path}: skipped: {error}")
    if not args.quiet:
        print(f"{num_faces} faces in {len(inputs) - num_failed} of {len(inputs)} pictures restored; see {args.output}")
    return 1 if problems or num_failed else 0


def _restore_one(item: "InputPicture", picture: "Picture", restorer: "MemGANRestorer", args: argparse.Namespace) -> int:
    """Restore one picture and write its results; the number of faces."""
    import numpy as np

    from memgan.image import IMAGE_SUFFIXES

    result = restorer.restore(
        picture, has_aligned=args.aligned, only_center_face=args.only_center_face, weight=args.weight
    )
    end = f"_{args.suffix}" if args.suffix else ""
    if not args.no_faces:
        pairs = zip(result.cropped_faces, result.restored_faces, strict=True)
        for index, (cropped, restored) in enumerate(pairs):
            name = f"{item.name.name}_{index:02d}"
            _write(cropped, args.output / CROPPED / item.name.with_name(f"{name}.png"))
            _write(restored, args.output / RESTORED / item.name.with_name(f"{name}{end}.png"))
            _write(np.hstack([cropped, restored]), args.output / COMPARED / item.name.with_name(f"{name}.png"))
    if result.picture is not None:
        own = item.path.suffix.lower()
        suffix = f".{args.ext}" if args.ext != "auto" else own if own in IMAGE_SUFFIXES else ".png"
        _write(result.picture, args.output / PICTURES / item.name.with_name(f"{item.name.name}{end}{suffix}"))
    return len(result.restored_faces)


def _write(picture: "Picture | np.ndarray", path: Path) -> None:
    from memgan.image import Picture, save_picture

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path.parent} ({error.strerror}); choose another output") from error
    save_picture(picture if isinstance(picture, Picture) else Picture(picture), path)


def _check(args: argparse.Namespace) -> None:
    if any(character in args.suffix for character in "/\\\0"):
        raise ConfigError(f"--suffix is {args.suffix!r}; it becomes part of file names: leave out slashes.")
    if args.aligned and args.no_faces:
        raise ConfigError("--aligned gives faces only and --no-faces none: leave one of them out.")


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


def _report(problem: str) -> None:
    print(f"memgan: {problem}", file=sys.stderr)


def _strength(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value
