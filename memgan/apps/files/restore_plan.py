"""Says of each input what ``memgan restore`` will do, before anything is read. Loads neither torch nor pictures."""

import dataclasses
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from memgan.apps.files.inputs import InputFile
from memgan.apps.files.names import RESTORED, face_name, film_name, picture_name, result_suffix
from memgan.apps.files.restore_options import FileOptions, PartOptions
from memgan.errors import OutputError
from memgan.restoration.options import RestoreOptions
from memgan.runtime.path_rules import folded, name_problem
from memgan.runtime.records import FileState, NameIndex, Records, Row, digest, name_number
from memgan.video import result_suffix as film_suffix
from memgan.video.options import VideoOptions

WITHOUT_EFFECT = {
    *("output", "input", "recursive", "skip_existing", "dry_run", "report", "quiet", "jobs", "keep_date"),
    *("max_batch", "threads", "overlap", "color", "evidence", "keep", "paste_back", "weights", "device", "provider"),
}
"""Options that the outputs do not depend on but for rounding (and ``weights``, whose content counts).

``dtype`` counts as it was asked for: what ``auto`` becomes on another machine makes nothing be done again.
"""
PICTURES_ONLY = {"pages", "ext", "quality", "no_faces", "allow_truncated", "has_aligned", "reliability"}
"""Options that films do not depend on."""


class Plan(NamedTuple):
    """What will be done with an input."""

    item: InputFile
    state: FileState | None
    """Of the input now; ``None``: it cannot be looked at."""
    suffix: str
    """Type of the whole picture's file, or of the film's."""
    expected: PurePath
    """The whole picture's file, the film's, or that of an aligned face; relative to the output."""
    problem: str | None = None
    """Why it is left out."""
    done: Row | None = None
    """It was done before, as this row says, and is left out."""


class Planner:
    """Plans the inputs of a run one by one. Threads that write may ask for further outputs meanwhile.

    A result belongs to the input that a record names, or that was planned first in this run. No other one overwrites
    it.

    Args:
        options: digest, see :func:`options_digest`.
        has_whole: whether whole pictures are written; if not, each input is a face.
        video: how films are written.
        film_options: digest of the options of films.
    """

    def __init__(
        self,
        records: Records,
        files: FileOptions,
        options: str,
        *,
        has_whole: bool,
        folds: bool,
        video: VideoOptions | None = None,
        film_options: str = "",
    ) -> None:
        self.records, self.files, self.options, self.film_options = records, files, options, film_options
        self._video = video or VideoOptions()
        self._has_whole, self._folds = has_whole, folds
        self._end = f"_{files.suffix}" if files.suffix else ""
        self._begin_ns = time.time_ns()
        self._planned = NameIndex()
        self._lock = threading.Lock()
        self.num_unrecorded = 0
        """Results that are there although no record names them."""

    def plan(self, item: InputFile) -> Plan:
        """What will be done with an input that was not planned before."""
        if item.is_film:
            suffix = film_suffix(item.name.suffix.lower(), self._video)
            expected = film_name(item.name, suffix, self._end)
        else:
            suffix = result_suffix(item.name, self.files.ext)
            if self._has_whole:
                expected = picture_name(item.name, suffix, self._end)
            else:
                expected = face_name(RESTORED, item.name, None, end=self._end)
        try:
            state = FileState.of(item.path, absolute(item.path))
        except (OSError, ValueError):  # whoever reads it will say why
            return Plan(item, None, suffix, expected)
        if item.is_film and not self._has_whole:
            return Plan(
                item, state, suffix, expected, "it is a film, and --aligned takes pictures of faces; leave it out"
            )
        if self.files.skip_existing:
            row = self.records.done(state.path, self.film_options if item.is_film else self.options)
            if row is not None and row.input == state:
                return Plan(item, state, suffix, expected, done=row)
        problem = self.claim(expected, state)
        if problem is None and self.files.skip_existing and (self.files.output / expected).is_file():
            self.num_unrecorded += self.records.owner(expected.as_posix()) is None
        return Plan(item, state, suffix, expected, problem)

    def claim(self, output: PurePath, state: FileState) -> str | None:
        """Reserve an output for an input; the reason if that is refused."""
        problem = name_problem(self.files.output / output)
        if problem is not None:
            return f"its result {output} cannot be: {problem}; rename it, or choose another --suffix or output folder"
        name, mine = output.as_posix(), name_number(state.path)
        with self._lock:
            key = folded(name) if self._folds else name
            first = self._planned.get(key)
            if first is None:
                self._planned.set(key, mine)
        remedy = "choose another --suffix or --ext, or another output folder for it"
        if first not in (None, mine):
            return f"its result {output} is also that of another input of this run; {remedy}"
        try:
            made_ns = (self.files.output / output).stat().st_mtime_ns
        except OSError:
            return None
        owned = self.records.owner(name)
        if owned is None and made_ns >= self._begin_ns:
            return f"its result {output} was written by another program just now; {remedy}"
        if owned is None or is_same_input(owned[0].input, state):
            return None
        return f"its result {output} is there already, made of {owned[0].input.path}; {remedy}"

    def record(self, row: Row) -> Row:
        """Append a row to the record; what comes back says if that failed."""
        try:
            self.records.append(row)
        except OutputError as error:
            return dataclasses.replace(row, reason="; ".join(filter(None, (row.reason, f"not recorded: {error}"))))
        return row


def is_same_input(known: FileState, now: FileState) -> bool:
    """Whether a file is the one that a row names: by its path, or moved together with its folder."""
    moved = known.size == now.size and known.mtime_ns == now.mtime_ns
    return known.path == now.path or (moved and PurePath(known.path).name == PurePath(now.path).name)


def options_digest(
    files: FileOptions,
    options: RestoreOptions,
    parts: PartOptions,
    weights: Mapping[str, Any],
    video: VideoOptions | None = None,
) -> str:
    """Equal for runs whose pictures are the same; with ``video``, whose films are."""
    groups: list[Any] = [files, options, parts]
    ignored, sums = set(WITHOUT_EFFECT), {name: text for name, text in weights.items() if name.endswith("sha256")}
    if video is not None:
        groups.append(video)
        ignored |= PICTURES_ONLY
        sums.pop("reliability_sha256", None)
    chosen = {
        field.name: getattr(group, field.name)
        for group in groups
        for field in dataclasses.fields(group)
        if field.name not in ignored
    }
    return digest({**chosen, "weights": list(sums.values())})


def absolute(path: Path) -> str:
    """The path that records name: links are not resolved, so that each name is an input of its own."""
    return os.path.abspath(path)
