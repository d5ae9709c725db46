"""Restores the films of ``memgan restore``, one after the other, and writes the results."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from memgan.apps.files.inputs import InputFile
from memgan.apps.files.restore_files import OUT_OF_MEMORY, make_folder
from memgan.apps.files.restore_plan import Plan, Planner, absolute
from memgan.apps.files.restore_report import EXISTING, INTERRUPTED, NO_SUCH_FACE, RESTORED, UNCHANGED
from memgan.errors import ConfigError, ImageError, MissingDependencyError, OutputError
from memgan.restoration.options import RestoreOptions
from memgan.restoration.restorer import MemGANRestorer
from memgan.runtime.atomic_file import copy_modification_time
from memgan.runtime.device import dtype_name
from memgan.runtime.progress import ProgressBar
from memgan.runtime.records import FAILED, FileState, Output, Row
from memgan.video.film_work import FilmProgress
from memgan.video.options import VideoOptions
from memgan.video.restorer import VideoRestorer

_FAILURES = (ImageError, ConfigError, OutputError, MissingDependencyError, torch.cuda.OutOfMemoryError)
_STAGES = {"faces": "finding faces", "looks": "looking at faces"}
"""What stages are called that say it less well themselves."""


class FilmRestorer:
    """Restores films, writes their results and records them.

    Args:
        known: fields that all rows of this run share.
        stops: whether to begin no further film, and to end the one in hand after its frame.
        quiet: whether to show no progress.
    """

    def __init__(
        self,
        restorer: MemGANRestorer,
        video: VideoOptions,
        options: RestoreOptions,
        planner: Planner,
        known: Mapping[str, Any] | None = None,
        stops: Callable[[], bool] = lambda: False,
        *,
        quiet: bool = False,
    ) -> None:
        self._restorer, self._video = restorer, VideoRestorer(restorer, video)
        self._planner, self._stops, self._quiet = planner, stops, quiet
        self._known: Mapping[str, Any] = known or {}
        self._notes = ["--reliability is for pictures: nothing is estimated of films"] * options.reliability
        self._options = dataclasses.replace(options, reliability=False)
        self._checked: list[tuple[Plan, list[str]]] = []

    def check(self, films: Iterable[InputFile]) -> Iterator[tuple[Path, Row]]:
        """Look at all films before the work of hours begins.

        Returns:
            Path and row of each that is done already or cannot be done.
        """
        for film in itertools.takewhile(lambda _: not self._stops(), films):
            plan, begin = self._planner.plan(film), time.perf_counter()
            if plan.done is not None:
                yield film.path, dataclasses.replace(plan.done, status=EXISTING)
                continue
            try:
                if plan.problem is not None:
                    raise OutputError(plan.problem)
                self._checked.append((plan, self._video.plan(film.path, self._output(plan), options=self._options)))
            except _FAILURES as error:
                yield film.path, self._recorded(_failed(plan, error), begin)

    def run(self) -> Iterator[tuple[Path, Row]]:
        """Path and row of each film that :meth:`check` found in order, until ``stops``."""
        for plan, notes in self._checked:
            if self._stops():
                return
            begin = time.perf_counter()
            try:
                row = self._restored(plan, notes)
            except _FAILURES as error:
                row = _failed(plan, error)
            yield plan.item.path, self._recorded(row, begin)

    def _restored(self, plan: Plan, notes: list[str]) -> Row:
        path, output = plan.item.path, self._output(plan)
        # Again: another run may have taken the name meanwhile.
        problem = None if plan.state is None else self._planner.claim(plan.expected, plan.state)
        if problem is not None:
            raise OutputError(problem)
        make_folder(output.parent)
        with _FilmBar(path.name, hidden=self._quiet) as bar:
            result = self._video.restore(
                path,
                output,
                options=self._options,
                provenance=self._planner.files.provenance,
                progress=bar.show,
                stops=self._stops,
            )
        if not result.is_complete:
            return _row(
                plan,
                INTERRUPTED,
                "stopped by a signal; the same command continues after the last part that is finished",
            )
        if self._planner.files.keep_date:
            copy_modification_time(path, output)
        status, reason = RESTORED if result.changed else UNCHANGED, None
        asked = self._options.face_index
        if asked is not None and not result.tracks:
            status, reason = NO_SUCH_FACE, f"there is no face of number {', '.join(map(str, asked))}, counted from 0"
        return dataclasses.replace(
            _row(plan, status, reason),
            output=plan.expected.as_posix(),
            outputs=(Output(plan.expected.as_posix(), output.stat().st_size),),
            left_alone=result.left_alone,
            film={"frames": result.num_frames, "tracks": result.tracks, "problems": result.problems},
            notes=list(dict.fromkeys([*self._notes, *notes, *result.notes])),
        )

    def _output(self, plan: Plan) -> Path:
        return self._planner.files.output / plan.expected

    def _recorded(self, row: Row, begin: float) -> Row:
        seconds = round(time.perf_counter() - begin, 3)
        dtype = dtype_name(self._restorer.dtype)  # a self-check may have changed it meanwhile
        row = dataclasses.replace(row, seconds=seconds, dtype=dtype, options=self._planner.film_options, **self._known)
        return self._planner.record(row)


class _FilmBar:
    """Shows one after the other the stages of a film, as a part of the bar of all inputs; a context manager."""

    def __init__(self, name: str, *, hidden: bool) -> None:
        self._name, self._hidden = name, hidden
        self._bar: ProgressBar | None = None
        self._last: FilmProgress | None = None

    def show(self, now: FilmProgress) -> None:
        """Show how far the film is. Frames that are done when a stage begins are of an earlier run."""
        if self._bar is None or self._last is None or now.stage != self._last.stage:
            self.__exit__()
            title = f"{self._name}, {_STAGES.get(now.stage, now.stage)}"
            self._bar = ProgressBar(
                now.total, unit="frames", title=title, start=now.done, is_part=True, hidden=self._hidden
            ).__enter__()
        else:
            self._bar.advance(now.done - self._last.done, total=now.total)
        self._last = now

    def __enter__(self) -> "_FilmBar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)


def _failed(plan: Plan, error: Exception) -> Row:
    return _row(plan, FAILED, OUT_OF_MEMORY if isinstance(error, torch.cuda.OutOfMemoryError) else str(error))


def _row(plan: Plan, status: str, reason: str | None) -> Row:
    state = plan.state or FileState(absolute(plan.item.path), 0, 0)
    return Row(input=state, status=status, reason=reason)
