"""Restores the files of ``memgan restore`` and writes the results."""

import contextlib
import dataclasses
import functools
import itertools
import shutil
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch

from memgan.apps.files.inputs import InputFile
from memgan.apps.files.jobs import in_order
from memgan.apps.files.names import (
    COMPARED,
    CROPPED,
    RESTORED,
    face_name,
    has_same_type,
    map_name,
    page_mark,
    picture_name,
)
from memgan.apps.files.restore_options import page_range
from memgan.apps.files.restore_plan import Plan, Planner, absolute, is_same_input
from memgan.apps.files.restore_report import EXISTING, NO_SUCH_FACE, UNCHANGED, json_of_face, json_of_left_alone
from memgan.apps.files.restore_report import RESTORED as DONE
from memgan.errors import ImageError, MissingDependencyError, OutputError
from memgan.image import Picture, save_picture, suffix_for
from memgan.image.pages import PagesWriter, Timing, holds_pages, open_pages
from memgan.restoration.heat_map import draw_heat_map
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline
from memgan.restoration.restorer import MemGANRestorer
from memgan.restoration.result import Restoration
from memgan.runtime.atomic_file import atomic_write, copy_modification_time
from memgan.runtime.device import dtype_name
from memgan.runtime.records import FAILED, FileState, Output, Row

OUT_OF_MEMORY = "the GPU's memory is too small for it; use --device cpu, or a smaller --bg-tile or --upscale"


def adapted_options(restorer: MemGANRestorer, options: RestoreOptions) -> RestoreOptions:
    """Options as files are restored with them on the restorer's device."""
    if restorer.device.type == "cpu":
        # A larger batch is no faster there: no picture waits for others, and less memory is needed.
        return dataclasses.replace(options, max_batch=1)
    return options


class FileRestorer:
    """Restores files, writes their results and records them.

    Args:
        jobs: pictures worked on at the same time by threads; 1: one after the other, and their faces share the batches
            of a GPU.
        known: fields that all rows of this run share.
        stops: whether to begin no further input.
        pipeline: instead of the restorer's own.
    """

    def __init__(
        self,
        restorer: MemGANRestorer,
        options: RestoreOptions,
        planner: Planner,
        jobs: int = 1,
        known: Mapping[str, Any] | None = None,
        stops: Callable[[], bool] = lambda: False,
        *,
        pipeline: Pipeline | None = None,
    ) -> None:
        self._pipeline = restorer.pipeline if pipeline is None else pipeline
        self._restorer, self._planner, self._jobs, self._stops = restorer, planner, jobs, stops
        self._known: Mapping[str, Any] = known or {}
        if jobs > 1:
            options = dataclasses.replace(options, overlap=False)  # the jobs overlap each other
        self._options = adapted_options(restorer, options)

    def run(self, inputs: Iterable[InputFile]) -> Iterator[tuple[Path, Row]]:
        """Each input's path and what became of it, in their order, until ``stops``; what has begun is completed."""
        # Planned one after the other whatever the number of jobs: of two inputs with one result the first one gets it.
        plans = map(self._planner.plan, itertools.takewhile(lambda _: not self._stops(), inputs))
        if self._jobs == 1:
            return self._restore(plans)
        return itertools.chain.from_iterable(in_order(lambda plan: list(self._restore([plan])), plans, self._jobs))

    def _restore(self, plans: Iterable[Plan]) -> Iterator[tuple[Path, Row]]:
        waiting: deque[_Step] = deque()  # of the inputs that are begun, in their order
        begin = time.perf_counter()

        def ended(work: FileWork) -> tuple[Path, Row]:
            nonlocal begin
            row = work.end()
            seconds, begin = time.perf_counter() - begin, time.perf_counter()
            if row.status != EXISTING:
                dtype = dtype_name(self._restorer.dtype)  # a self-check may have changed it meanwhile
                row = dataclasses.replace(row, seconds=round(seconds, 3), dtype=dtype, **self._known)
                row = self._planner.record(row)
            return work.given, row

        begun: FileWork | None = None  # some of its pages are done, others not
        results = self._pipeline.run(self._pictures(plans, waiting), self._options, raise_errors=False)
        with contextlib.closing(results):
            try:
                for result in results:
                    while not waiting[0].has_picture:
                        begun = None
                        yield ended(waiting.popleft().work)
                    step = waiting.popleft()
                    step.work.add(result, step.page)
                    begun = None if step.is_last else step.work
                    if step.is_last:
                        yield ended(step.work)
                while waiting:
                    begun = None
                    yield ended(waiting.popleft().work)
            finally:
                if begun is not None:
                    begun.give_up()

    def _pictures(self, plans: Iterable[Plan], waiting: "deque[_Step]") -> Iterator[Picture]:
        """Pictures to restore; for each and for each input without any a step is added to ``waiting``."""
        for plan in plans:
            if self._stops():
                return
            work = FileWork(plan, self._planner, self._options)
            if work.is_over:
                waiting.append(_Step(work, has_picture=False))
                continue
            try:
                for page, is_last, picture in work.pictures():
                    waiting.append(_Step(work, page, is_last=is_last))
                    yield picture
                    if self._stops() and not is_last:
                        return
            except (ImageError, MissingDependencyError) as error:
                work.fail(str(error))
                waiting.append(_Step(work, has_picture=False))


class _Step(NamedTuple):
    """What is to be done with the next result."""

    work: "FileWork"
    page: int | None = None
    has_picture: bool = True
    is_last: bool = True


class FileWork:
    """One input on its way: writes its files, and ends as a row."""

    def __init__(self, plan: Plan, planner: Planner, options: RestoreOptions) -> None:
        self.given = plan.item.path
        self._plan, self._planner, self._options = plan, planner, options
        self._files, self._records = planner.files, planner.records
        self._end = f"_{self._files.suffix}" if self._files.suffix else ""
        self._problem = plan.problem
        self._output: str | None = None
        self._outputs: list[Output] = []
        self._faces: list[dict[str, Any]] = []
        self._left_alone: list[dict[str, Any]] = []
        self._notes: dict[str, None] = {}
        self._changed = False
        self._is_complete = True  # all pages are restored
        self._timing: Timing | None = None
        self._writer: PagesWriter | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self._problem is not None or self._plan.done is not None

    def add(self, result: Restoration, page: int | None) -> None:
        """Write the files of a result, unless something is wrong with it or was before."""
        self._notes.update(dict.fromkeys(result.problems))
        if self._problem is None and result.error is not None:
            is_memory = isinstance(result.error, torch.cuda.OutOfMemoryError)
            self._problem = OUT_OF_MEMORY if is_memory else str(result.error)
        if self._problem is None:
            try:
                self._write(result, "" if page is None else page_mark(page))
            except OutputError as error:
                self._problem = str(error)

    def end(self) -> Row:
        """What became of the input, once all of it is done."""
        self._end_pages()
        state = self._plan.state or FileState(absolute(self._plan.item.path), 0, 0)
        if self._plan.done is not None:
            return dataclasses.replace(self._plan.done, status=EXISTING)
        status, reason = (UNCHANGED, None) if not self._changed else (DONE, None)
        asked = self._options.face_index
        if self._problem is not None:
            status, reason = FAILED, self._problem
        elif asked is not None and not self._faces:
            status, reason = NO_SUCH_FACE, f"there is no face of number {', '.join(map(str, asked))}, counted from 0"
        return Row(
            input=state,
            status=status,
            reason=reason,
            options=self._planner.options,
            output=self._output,
            outputs=self._outputs,
            faces=self._faces,
            left_alone=self._left_alone,
            notes=list(self._notes),
        )

    def pictures(self) -> Iterator[tuple[int | None, bool, Picture]]:
        """The pictures of the input that are asked for: the number of a page if there are several, and whether it is
        the last.

        Raises:
            ImageError, MissingDependencyError: as :func:`memgan.image.pages.open_pages`; if there is no such page.
        """
        pages = open_pages(self.given, allow_truncated=self._files.allow_truncated)
        first, last = page_range(self._files.pages)
        last = len(pages) if last is None else min(last, len(pages))
        if first > last:
            raise ImageError(f"{self.given} has {len(pages)} pages; --pages asks for {self._files.pages}")
        self._is_complete = last - first + 1 == len(pages)
        if not self._is_complete:
            self._notes[f"of its {len(pages)} pages, those of --pages {self._files.pages} are restored"] = None
        if pages.timing is not None:
            self._timing = pages.timing._replace(durations_ms=pages.timing.durations_ms[first - 1 : last])
        for number, picture in enumerate(itertools.islice(pages, first - 1, last), first):
            yield None if first == last else number, number == last, picture

    def fail(self, problem: str) -> None:
        """Say why the input cannot be restored."""
        self._problem = problem

    def give_up(self) -> None:
        """Leave no part of a file of pages behind, since the input will not be completed."""
        if self._writer is not None:
            stop = KeyboardInterrupt()
            self._writer.__exit__(type(stop), stop, None)

    def _write(self, result: Restoration, page: str) -> None:
        name = self._plan.item.name
        faces: dict[PurePath, np.ndarray] = {}
        for number, face in enumerate(() if self._files.no_faces else result.faces):
            index = None if self._options.has_aligned else number
            images = {CROPPED: face.crop, RESTORED: face.restored, COMPARED: np.hstack([face.crop, face.restored])}
            faces |= {face_name(folder, name, index, page, self._end): image for folder, image in images.items()}
            if face.expected_error is not None:
                faces[map_name(name, index, page, self._end)] = draw_heat_map(face)
        for output in faces:
            self._claim(output)
        self._changed = self._changed or result.changed
        if result.picture is not None:
            self._write_whole(result, result.picture, page)
        for output, crop in faces.items():
            self._written(output, functools.partial(_write, Picture(crop)))
        if not self._files.no_faces:
            self._remove_others(faces, len(result.faces), page)
        self._faces += map(json_of_face, result.faces)
        self._left_alone += map(json_of_left_alone, result.left_alone)

    def _write_whole(self, result: Restoration, picture: Picture, page: str) -> None:
        """Write the whole picture, or as a page into the file of all pages where its type holds several."""
        name, suffix = self._plan.item.name, self._suffix(result)
        is_page = page and holds_pages(suffix, self._timing is not None)
        whole = picture_name(name, suffix, self._end if is_page else f"{page}{self._end}")
        if self._writer is None:
            self._claim(whole)
            self._output = self._output or whole.as_posix()
        if is_page:
            if self._writer is None:
                path = self._files.output / whole
                make_folder(path.parent)
                quality, provenance = self._files.quality, self._files.provenance
                self._writer = PagesWriter(path, self._timing, quality, provenance).__enter__()
            try:
                self._notes.update(dict.fromkeys(self._writer.add(picture)))
            except OutputError:
                raise
            except OSError as error:
                raise OutputError(f"{whole} cannot be written ({error.strerror or error}); make room") from error
        elif not (page or result.changed) and self._may_copy(suffix):
            self._written(whole, self._copy)
        else:
            self._written(whole, functools.partial(self._save, picture))

    def _may_copy(self, suffix: str) -> bool:
        """Whether the input's file can be the result if nothing in it changes."""
        is_asked_for = self._files.quality is None and self._is_complete
        return is_asked_for and has_same_type(self._plan.item.name, suffix)

    def _end_pages(self) -> None:
        """Complete the file of all pages, or drop it for a copy of the input if nothing changed."""
        if self._writer is None or self._output is None:
            return
        output = PurePath(self._output)
        is_copied = self._problem is None and not self._changed and self._may_copy(output.suffix.lower())
        if self._problem is not None or is_copied:
            self.give_up()
        try:
            if is_copied:
                self._written(output, self._copy)
            elif self._problem is None:
                self._writer.__exit__(None, None, None)
                self._written(output, self._date)
        except OutputError as error:
            self._problem = str(error)

    def _suffix(self, result: Restoration) -> str:
        """That of the real kind of the input, unless another kind is asked for."""
        suffix = self._plan.suffix
        if self._files.ext != "auto" or result.picture is None:
            return suffix
        real = suffix_for(result.picture, suffix)
        if real != suffix and has_same_type(self._plan.item.name, suffix):
            self._notes[f"it is no {suffix} file, whatever its name says; the result is a {real} file"] = None
        return real

    def _save(self, picture: Picture, path: Path) -> None:
        make_folder(path.parent)
        problems = save_picture(picture, path, self._files.quality, self._files.provenance)
        self._notes.update(dict.fromkeys(problems))
        self._date(path)

    def _copy(self, path: Path) -> None:
        """Byte for byte: what did not change is not encoded again."""
        make_folder(path.parent)
        with atomic_write(path) as temporary:
            shutil.copyfile(self._plan.item.path, temporary)
        if self._notes:  # of what reading has dropped, nothing is missing in the copy
            self._notes["nothing changed: the result is a copy of the file as it is"] = None
        self._date(path)

    def _date(self, path: Path) -> None:
        if self._files.keep_date:
            copy_modification_time(self._plan.item.path, path)

    def _claim(self, output: PurePath) -> None:
        problem = None if self._plan.state is None else self._planner.claim(output, self._plan.state)
        if problem is not None:
            raise OutputError(problem)

    def _written(self, output: PurePath, write: Callable[[Path], None]) -> None:
        path = self._files.output / output
        write(path)
        self._outputs.append(Output(output.as_posix(), path.stat().st_size))

    def _remove_others(self, written: Container[PurePath], count: int, page: str) -> None:
        """Remove files of faces, and maps, that an earlier run has made of this input and this one does not."""
        name = self._plan.item.name
        for number in range(1) if self._options.has_aligned else itertools.count():
            index = None if self._options.has_aligned else number
            outputs = [face_name(folder, name, index, page, self._end) for folder in (CROPPED, RESTORED, COMPARED)]
            outputs = [one for one in (*outputs, map_name(name, index, page, self._end)) if one not in written]
            owned = [one for one in map(self._owned, outputs) if one is not None]
            if number >= count and not owned:
                break
            for output in filter(self._records.is_unchanged, owned):  # not those that were edited since
                with contextlib.suppress(OSError):
                    (self._files.output / output.path).unlink()

    def _owned(self, output: PurePath) -> Output | None:
        """A file as an earlier row of this input names it."""
        state, found = self._plan.state, self._records.owner(output.as_posix())
        return found[1] if found is not None and state is not None and is_same_input(found[0].input, state) else None


def _write(picture: Picture, path: Path) -> None:
    make_folder(path.parent)
    save_picture(picture, path)


def make_folder(folder: Path) -> None:
    """Make a folder for results, unless it is there; an OutputError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder} ({error.strerror}); choose another output") from error
