"""``memgan restore``: restore the faces of picture files."""

import argparse
import contextlib
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memgan.apps.cli.arguments import add_options, options_from
from memgan.apps.cli.restore_options import COMPARED, CROPPED, FOLDERS, PICTURES, RESTORED, FileOptions, PartOptions
from memgan.errors import ConfigError, OutputError
from memgan.restoration.options import RestoreOptions

if TYPE_CHECKING:
    from memgan.apps.cli.inputs import InputPicture
    from memgan.apps.cli.restore_files import Entry
    from memgan.restoration.restorer import MemGANRestorer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = (
        f"Results: DIR/{PICTURES} (whole pictures), DIR/{RESTORED}, DIR/{CROPPED} (aligned faces before), "
        f"DIR/{COMPARED} (before and after, side by side). Options of GFPGAN's and CodeFormer's programs may be "
        "spelled as there."
    )
    parser.set_defaults(usage_error=parser.error)
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="picture file or folder of pictures")
    add_options(parser, FileOptions, RestoreOptions, PartOptions, groups=("files", "faces", "looks", "work"))


def run(args: argparse.Namespace) -> int:
    """Restore all inputs; 0 if all went well, 1 if some were skipped."""
    from memgan.apps.cli.inputs import collect_inputs
    from memgan.apps.cli.restore_files import summary, write_report
    from memgan.image import all_suffixes
    from memgan.runtime.progress import ProgressBar, print_line

    args.inputs = [*args.inputs, *args.input]
    if not args.inputs:
        args.usage_error("the following arguments are required: INPUT (or -i INPUT)")
    files, options = options_from(args, FileOptions), options_from(args, RestoreOptions)
    _check_together(files, options)
    _prepare(files.output)
    if files.report is not None:
        _prepare(files.report.parent)
    folders = [files.output / name for name in FOLDERS]
    inputs, problems = collect_inputs(args.inputs, all_suffixes(), recursive=files.recursive, own=folders)
    for problem in problems:
        print_line(f"memgan: {problem}")
    entries: list[Entry] = []
    try:
        work = _work(inputs, files, options, options_from(args, PartOptions))
        with contextlib.closing(work), ProgressBar(len(inputs), unit="pictures", hidden=files.quiet) as bar:
            for entry in work:
                entries.append(entry)
                if entry.problem is not None:
                    print_line(f"memgan: {entry.input}: skipped: {entry.problem}")
                bar.advance()
    finally:
        if files.report is not None:
            write_report(files.report, vars(args), problems, entries)
    if inputs and not files.quiet:
        print(summary(entries, len(inputs), files.output))
    return 1 if problems or any(entry.status == "failed" for entry in entries) else 0


def _work(
    inputs: "Sequence[InputPicture]", files: FileOptions, options: RestoreOptions, parts: PartOptions
) -> "Generator[Entry, None, None]":
    from memgan.apps.cli.jobs import cores_shared, number_of_jobs
    from memgan.apps.cli.restore_files import FileRestorer

    jobs = number_of_jobs(files.jobs, len(inputs))
    with cores_shared(jobs):
        if inputs:
            yield from FileRestorer(_make_restorer(parts, options), options, files, jobs).run(inputs)


def _make_restorer(parts: PartOptions, options: RestoreOptions) -> "MemGANRestorer":
    from memgan.faces.detect import FaceDetector, create_detector
    from memgan.restoration.restorer import MemGANRestorer
    from memgan.runtime.device import choose_device

    detector: str | FaceDetector = parts.detector
    if parts.detector_weights is not None:
        device = choose_device(parts.device)
        detector = create_detector(
            parts.detector,
            device=device,
            weights_dir=parts.detector_weights,
            score_threshold=options.score_threshold,
        )
    upsampler = None
    if parts.bg_upsampler.lower() != "none":
        from memgan.restoration.spandrel_upsampler import SpandrelUpsampler

        upsampler = SpandrelUpsampler(parts.bg_upsampler, device=parts.device, tile=parts.bg_tile)
    return MemGANRestorer(
        parts.weights,
        bg_upsampler=upsampler,
        device=parts.device,
        detector=detector,
        half=parts.half,
        dtype=parts.dtype,
        score_threshold=options.score_threshold,  # the detector needs it too
        mask=parts.mask,
        backend=parts.backend,
    )


def _check_together(files: FileOptions, options: RestoreOptions) -> None:
    if options.has_aligned and files.no_faces:
        raise ConfigError("--aligned gives faces only and --no-faces none: leave one of them out.")
    if options.face_index is not None and (options.has_aligned or options.only_center_face):
        other = "--aligned" if options.has_aligned else "--only-center-face"
        raise ConfigError(f"--face-index and {other} both say which faces to restore: leave one of them out.")


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
