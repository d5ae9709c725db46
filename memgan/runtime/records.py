"""Keeps what was done with each input: rows of a file that only grows, one JSON object a line.

A row is written after the outputs that it names are in place. Whoever skips, resumes or reports believes the rows.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memgan.errors import OutputError
from memgan.runtime.path_rules import folded
from memgan.version import __version__

RECORDS_NAME = "records.jsonl"
"""Of the file, which lies in the folder of the outputs."""
FAILED = "failed"
"""Status of a row whose outputs are missing or only a part."""
_SYNC_SECONDS = 1.0  # a crash of the machine loses the rows of this time at most; their inputs are then done again
_FEW = 2**14  # entries of an index in a dictionary, before they are sorted into its arrays


@dataclasses.dataclass(frozen=True)
class FileState:
    """A file, and what tells whether it has changed."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str | os.PathLike[str], known_as: str) -> "FileState":
        """Of the file at ``path``, under another name; an OSError if there is none."""
        found = os.stat(path)
        return cls(known_as, found.st_size, found.st_mtime_ns)


@dataclasses.dataclass(frozen=True)
class Output:
    """A file that was written."""

    path: str
    """Relative to the folder of the record, with ``/``."""
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What was done with one input in one run."""

    input: FileState
    """Its path is absolute, as it was given: links are not resolved."""
    status: str
    reason: str | None = None
    """Why it was not restored."""
    run: str = ""
    """The same for all rows of one run."""
    options: str = ""
    """Digest of all options that the outputs depend on, see :func:`digest`."""
    weights: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    """``name`` and ``sha256``."""
    dtype: str = ""
    device: str = ""
    backend: str = ""
    output: str | None = None
    """The main one of ``outputs``."""
    outputs: Sequence[Output] = ()
    faces: Sequence[Mapping[str, Any]] = ()
    left_alone: Sequence[Mapping[str, Any]] = ()
    """What looked like a face and was not restored, with the reason."""
    film: Mapping[str, Any] | None = None
    """Of a film: ``frames``, ``tracks``, and ``problems``, the damage that was found in it."""
    notes: Sequence[str] = ()
    """What is odd about the input, or was dropped."""
    seconds: float = 0.0
    memgan: str = __version__

    def as_json(self) -> dict[str, Any]:
        """As a line of the file has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_line(cls, line: bytes) -> "Row | None":
        """The row of a line; ``None`` if it is torn or something else."""
        try:
            values = json.loads(line)
            values["input"] = FileState(**values["input"])
            values["outputs"] = tuple(Output(**output) for output in values["outputs"])
            for name in ("faces", "left_alone", "notes"):
                values[name] = tuple(values.get(name, ()))
            known = {field.name for field in dataclasses.fields(cls)}
            return cls(**{name: value for name, value in values.items() if name in known})
        except (ValueError, TypeError, KeyError):
            return None


class Records:
    """The rows of a folder of outputs. May be used by several threads, and by several processes at a time.

    Rows of other runs are seen as they are written. In memory are about 50 bytes for each input and output of the file.
    A file that cannot be read or written is an OutputError.

    Args:
        folder: where the outputs and the file lie; need not exist yet.
        folds: whether its file system takes names for equal that differ in case or in the form of letters only.
    """

    def __init__(self, folder: Path, *, folds: bool = False) -> None:
        self.folder, self.path = folder, folder / RECORDS_NAME
        self._folds = folds
        self._lock = threading.Lock()
        self._places = NameIndex()
        self._read_to = 0
        self._synced = -_SYNC_SECONDS

    def load(self) -> None:
        """Index the rows that are there. Need not be called; whoever does learns early what is wrong with the file.

        Raises:
            OutputError: if the file cannot be read or written.
        """
        with self._lock:
            self._catch_up()
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise OutputError(f"{self.path} cannot be written; check its permissions")

    def append(self, row: Row) -> None:
        """Write a row at the end of the file.

        Raises:
            OutputError: if it cannot be written.
        """
        line = json.dumps(row.as_json()).encode("ascii") + b"\n"
        try:
            with self._lock, self._process_lock(), open(self.path, "a+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                if end:  # a row that a crash has torn must not spoil this one
                    file.seek(end - 1)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                written = file.write(line)  # at once, so that rows of other processes stay whole
                if written != len(line):
                    raise OSError("the disk is full")
                if time.monotonic() - self._synced >= _SYNC_SECONDS:
                    os.fsync(file.fileno())
                    self._synced = time.monotonic()
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror or error}); make room, or choose another output folder"
            ) from error

    def sync(self) -> None:
        """Make sure that all rows are on the disk."""
        with contextlib.suppress(OSError), open(self.path, "rb+") as file:
            os.fsync(file.fileno())

    def done(self, path: str, options: str) -> Row | None:
        """The last row of an input with this digest of options that has outputs, if all of them are still its own.

        They are if they are there with the sizes of the row, and no later row names them.
        """
        with self._lock:
            self._catch_up()
            place = self._places.get(_input_key(path, options))
            row = None if place is None else self._row_at(place)
            if row is None or row.input.path != path or row.options != options:
                return None
            for output in row.outputs:
                if self._places.get(self._output_key(output.path)) != place:
                    return None
                if self._size(output.path) != output.size:
                    return None
            return row

    def owner(self, output: str) -> tuple[Row, Output] | None:
        """The last row that names an output, and how it is named there."""
        with self._lock:
            self._catch_up()
            key = self._output_key(output)
            place = self._places.get(key)
            row = None if place is None else self._row_at(place)
            if row is None:
                return None
            return next(((row, one) for one in row.outputs if self._output_key(one.path) == key), None)

    def is_unchanged(self, output: Output) -> bool:
        """Whether an output is there with the size that the row says."""
        return self._size(output.path) == output.size

    def _catch_up(self) -> None:
        """Index the rows that were written since the last time, here or elsewhere."""
        try:
            if not self.path.exists() or self.path.stat().st_size == self._read_to:
                return
            with open(self.path, "rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if not line.endswith(b"\n"):  # another process is writing it
                        break
                    row = Row.from_line(line)
                    if row is not None:
                        self._index(row, self._read_to)
                    self._read_to += len(line)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be read ({error.strerror}), so that nobody knows whose the results are; mend or "
                "delete it, or choose another output folder"
            ) from error

    def _index(self, row: Row, place: int) -> None:
        if row.outputs and row.status != FAILED:
            self._places.set(_input_key(row.input.path, row.options), place)
        for output in row.outputs:
            self._places.set(self._output_key(output.path), place)

    def _row_at(self, place: int) -> Row | None:
        with contextlib.suppress(OSError), open(self.path, "rb") as file:
            file.seek(place)
            return Row.from_line(file.readline())
        return None

    def _size(self, output: str) -> int | None:
        try:
            return (self.folder / output).stat().st_size
        except (OSError, ValueError):
            return None

    def _output_key(self, output: str) -> str:
        return f"o{folded(output) if self._folds else output}"

    @contextlib.contextmanager
    def _process_lock(self) -> Iterator[None]:
        """One process at a time; where files cannot be locked, rows written in one piece must suffice."""
        import filelock

        lock = filelock.FileLock(self.path.with_name(f".{RECORDS_NAME}.lock"))
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, NotImplementedError):
                stack.enter_context(lock)
            yield


class NameIndex:
    """A number for each of many names, in 16 bytes each: sorted hashes, and a dictionary of the newest."""

    def __init__(self) -> None:
        self._hashes, self._numbers = np.empty(0, np.int64), np.empty(0, np.int64)
        self._newest: dict[int, int] = {}

    def get(self, name: str) -> int | None:
        """The last number that was set, else ``None``; hardly ever that of another name."""
        key = name_number(name)
        if key in self._newest:
            return self._newest[key]
        place = int(np.searchsorted(self._hashes, np.int64(key)))
        found = place < len(self._hashes) and int(self._hashes[place]) == key
        return int(self._numbers[place]) if found else None

    def set(self, name: str, number: int) -> None:
        """Set the number of a name."""
        self._newest[name_number(name)] = number
        if len(self._newest) > max(_FEW, len(self._hashes) // 4):
            hashes = np.fromiter(self._newest.keys(), np.int64, len(self._newest))
            numbers = np.fromiter(self._newest.values(), np.int64, len(self._newest))
            # Of equal hashes the first place counts, which is the newest.
            self._hashes, first = np.unique(np.concatenate([hashes, self._hashes]), return_index=True)
            self._numbers = np.concatenate([numbers, self._numbers])[first]
            self._newest.clear()


def digest(options: Mapping[str, Any]) -> str:
    """A short text that is the same for equal options only."""
    text = json.dumps(options, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def name_number(name: str) -> int:
    """A number of 63 bits; two names hardly ever have the same."""
    data = name.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


def is_records_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a file of rows, and so the outputs that they name."""
    try:
        with open(Path(folder, RECORDS_NAME), "rb") as file:
            return any(Row.from_line(line) is not None for _, line in zip(range(2), file, strict=False))
    except OSError:
        return False


def _input_key(path: str, options: str) -> str:
    return f"i{path}\0{options}"
