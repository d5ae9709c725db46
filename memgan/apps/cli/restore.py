"""``memgan restore``: restore the faces of pictures and films."""

import argparse
import contextlib
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memgan.apps.cli.arguments import add_options, options_from
from memgan.apps.cli.foreign_options import refuse_foreign_options
from memgan.apps.files.names import COMPARED, CROPPED, FOLDERS, PICTURES, RESTORED, VIDEOS
from memgan.apps.files.restore_options import FileOptions, PartOptions, path_given
from memgan.apps.files.run import RunOptions, make_planner, make_restorer, prepare_folder, weights_of
from memgan.errors import ConfigError
from memgan.restoration.options import RestoreOptions
from memgan.video.options import VideoOptions

if TYPE_CHECKING:
    from memgan.apps.files.inputs import Inputs
    from memgan.runtime.records import Row
    from memgan.runtime.stop_signals import StopSignals

_NO_FILMS = "film, for which `pip install 'memgan[video]'` is needed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to ``parser``."""
    parser.epilog = (
        f"Results: DIR/{PICTURES} (whole pictures), DIR/{RESTORED}, DIR/{CROPPED} (aligned faces before), "
        f"DIR/{COMPARED} (before and after, side by side), DIR/{VIDEOS} (films), and what was done in "
        "DIR/records.jsonl. Options of GFPGAN's and CodeFormer's programs may be spelled as there."
    )
    parser.set_defaults(usage_error=parser.error)
    parser.add_argument(
        "inputs", nargs="*", type=path_given, metavar="INPUT", help="picture, film, or folder of pictures and films"
    )
    groups = ("files", "faces", "looks", "films", "work")
    add_options(parser, FileOptions, RestoreOptions, PartOptions, VideoOptions, groups=groups)
    refuse_foreign_options(parser)


def run(args: argparse.Namespace) -> int:
    """Restore all inputs; 0 if all went well, 1 if some were skipped, 128 and a signal's number if that ended it."""
    from memgan.apps.files.inputs import Inputs
    from memgan.apps.files.restore_report import check_report
    from memgan.runtime.picture_formats import installed_suffixes
    from memgan.video import is_available
    from memgan.video.formats import FILM_SUFFIXES

    args.inputs = [*args.inputs, *args.input]
    if not args.inputs:
        args.usage_error("the following arguments are required: INPUT (or -i INPUT)")
    files, options = options_from(args, FileOptions), options_from(args, RestoreOptions)
    asked = RunOptions(files, options, options_from(args, PartOptions), options_from(args, VideoOptions))
    _check_together(files, options)
    if files.report is not None:
        check_report(files.report, files.output)
    own = [files.output / name for name in FOLDERS]
    inputs = Inputs(
        args.inputs,
        installed_suffixes(),
        films=FILM_SUFFIXES,
        film_problem=None if is_available() else _NO_FILMS,
        recursive=files.recursive,
        own=own,
    )
    if files.dry_run:
        return _print_plan(inputs, asked)
    return _restore(inputs, asked, vars(args))


def _print_plan(inputs: "Inputs", asked: RunOptions) -> int:
    """Print what would be done: one line for each input and for what is left out."""
    from memgan.apps.files.inputs import LeftOut
    from memgan.runtime.streams import one_line

    planner = make_planner(asked, weights_of(asked.parts, asked.restore, offline=True), folds=False)
    has_problems = False
    for one in inputs:
        problem = None
        if isinstance(one, LeftOut):
            print(one_line(f"{one.path}: left out: {one.reason}"))
            problem = one.reason if one.is_problem else None
        else:
            plan = planner.plan(one)
            problem = plan.problem
            left_out = problem or ("there already" if plan.done is not None else None)
            what = f" -> {asked.files.output / plan.expected}" if left_out is None else f": left out: {left_out}"
            print(one_line(f"{one.path}{what}"))
        has_problems = has_problems or problem is not None
    return 1 if has_problems else 0


def _restore(inputs: "Inputs", asked: RunOptions, args: dict[str, Any]) -> int:
    from memgan.apps.files.inputs import InputFile, LeftOut, left_out_line
    from memgan.apps.files.restore_report import EXISTING, INTERRUPTED, Report, Summary
    from memgan.runtime.progress import ProgressBar, print_line
    from memgan.runtime.records import FAILED
    from memgan.runtime.stop_signals import StopSignals

    files = asked.files
    folds = prepare_folder(files.output)
    problems: list[str] = []
    num_pictures = num_films = 0

    def left_out() -> Iterator[LeftOut]:
        nonlocal num_pictures, num_films
        for one in inputs:
            if isinstance(one, InputFile):
                num_films += one.is_film
                num_pictures += not one.is_film
            elif one.is_problem:
                problems.append(f"{one.path}: {one.reason}")
            else:
                yield one

    line = left_out_line(left_out())
    for problem in problems:
        print_line(f"memgan: {problem}")
    if line is not None and not files.quiet:
        print_line(f"memgan: {line}")
    with contextlib.ExitStack() as stack:
        in_hand = ["the pictures in hand are finished"] * bool(num_pictures or not num_films)
        in_hand += ["a film stops after the frame in hand"] * bool(num_films)
        stop = stack.enter_context(StopSignals(", ".join(in_hand), lets_finish=False))
        report = None if files.report is None else stack.enter_context(Report(files.report, args, problems))
        summary, trouble = Summary(), bool(problems)
        try:
            work = _work(inputs, num_pictures, num_films, asked, folds, stop)
            unit = "pictures" if not num_films else "films" if not num_pictures else "files"
            total, is_even = num_pictures + num_films, not num_films
            bar = stack.enter_context(ProgressBar(total, unit=unit, is_even=is_even, hidden=files.quiet))
            for given, row in stack.enter_context(contextlib.closing(work)):
                summary.add(row)
                if report is not None:
                    report.add(row)
                if row.reason is not None:
                    trouble = True
                    print_line(f"memgan: {given}: {'skipped: ' * (row.status == FAILED)}{row.reason}")
                if row.film is not None and row.status != EXISTING:
                    for damage in row.film["problems"]:
                        trouble = True
                        print_line(f"memgan: {given}: {damage}")
                for note in () if files.quiet or row.status == EXISTING else row.notes:
                    print_line(f"memgan: {given}: {note}")
                bar.advance(row.status != INTERRUPTED)
        except KeyboardInterrupt:
            if stop.received is None:
                raise
    if num_pictures + num_films and not files.quiet:
        print(summary.line(num_pictures, files.output, num_films))
    if report is not None and report.problem is not None:
        print_line(f"memgan: {report.problem}")
    if stop.received is not None:
        print_line(f"memgan: interrupted by {stop.received.name}; what was written so far is complete")
        return 128 + stop.received
    return 1 if trouble or (report is not None and report.problem is not None) else 0


def _work(
    inputs: "Inputs", num_pictures: int, num_films: int, asked: RunOptions, folds: bool, stop: "StopSignals"
) -> "Generator[tuple[Path, Row], None, None]":
    """What becomes of each input, with its path as it was given: first of films that fail, and of films at last."""
    from memgan.apps.files.inputs import InputFile
    from memgan.apps.files.jobs import cores_shared, number_of_jobs
    from memgan.apps.files.restore_files import FileRestorer
    from memgan.runtime.progress import print_line

    if not num_pictures + num_films:
        return
    files, options, parts, video = asked
    jobs = number_of_jobs(files.jobs, num_pictures)

    def stops() -> bool:
        return stop.received is not None

    def inputs_of(*, films: bool) -> Iterator[InputFile]:
        return (one for one in inputs if isinstance(one, InputFile) and one.is_film == films)

    with cores_shared(jobs):
        weights = weights_of(parts, options)
        planner = make_planner(asked, weights, folds=folds)
        planner.records.load()
        restorer = make_restorer(parts, options)
        known = {
            "run": secrets.token_hex(8),
            "weights": weights,
            "device": str(restorer.device),
            "backend": parts.backend,
        }
        pictures = FileRestorer(restorer, options, planner, jobs, known, stops)
        films = None
        if num_films:
            from memgan.apps.files.restore_films import FilmRestorer

            films = FilmRestorer(restorer, video, options, planner, known, stops, quiet=files.quiet)
        stop.lets_finish = True
        if films is not None:
            yield from films.check(inputs_of(films=True))
        if num_pictures:
            yield from pictures.run(inputs_of(films=False))
    if films is not None:  # one at a time, with all cores
        yield from films.run()
    planner.records.sync()
    if planner.num_unrecorded and not files.quiet:
        print_line(
            "memgan: results that were there without a record of how they were made, so that --skip-existing made "
            f"them again: {planner.num_unrecorded}"
        )


def _check_together(files: FileOptions, options: RestoreOptions) -> None:
    if options.has_aligned and files.no_faces:
        raise ConfigError("--aligned gives faces only and --no-faces none: leave one of them out.")
    if options.face_index is not None and (options.has_aligned or options.only_center_face):
        other = "--aligned" if options.has_aligned else "--only-center-face"
        raise ConfigError(f"--face-index and {other} both say which faces to restore: leave one of them out.")
