"""Writes the report of ``memgan restore`` while it works, and sums it up for people."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from memgan.apps.files.names import FOLDERS
from memgan.errors import OutputError
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.records import FAILED, RECORDS_NAME, Row
from memgan.version import __version__

RESTORED, UNCHANGED, EXISTING, NO_SUCH_FACE = "restored", "unchanged", "existing", "no such face"
INTERRUPTED = "interrupted"
"""Statuses of rows besides ``failed``."""
_BEGIN = b'{\n "memgan": '  # of every report


def check_report(path: Path, output: Path) -> None:
    """Make sure that a report at ``path`` replaces nothing but an earlier report: neither a picture nor a record.

    Raises:
        OutputError: if it would.
    """
    if path.is_dir():
        raise OutputError(f"--report is {path}, which is a folder; name a file in it")
    here, places = os.path.realpath(path), [output / name for name in FOLDERS]
    if any(Path(os.path.realpath(place)) in Path(here).parents for place in places):
        raise OutputError(f"--report is {path}, which lies among the results; choose another place")
    try:
        begin = b"?"  # of a device or a pipe, which is not opened
        if not path.exists():
            begin = b""
        elif path.is_file():
            with open(path, "rb") as file:
                begin = file.read(len(_BEGIN))
    except OSError as error:
        raise OutputError(f"--report is {path}, which cannot be read ({error.strerror}); choose another") from error
    if path.name == RECORDS_NAME or begin not in (b"", _BEGIN):
        raise OutputError(f"--report is {path}, which is there and is no report; name another file, or delete it")


class Report:
    """A JSON file of all rows of a run, for programs that continue from here; a context manager.

    Rows are written as they come, so that none is kept. The file appears when the block ends, however it does.

    Raises:
        OutputError: on entering, if it cannot be written.
    """

    def __init__(self, path: Path, args: Mapping[str, object], problems: Sequence[str]) -> None:
        options = {
            name: [str(v) for v in value] if isinstance(value, list | tuple) else value
            for name, value in args.items()
            if isinstance(value, str | int | float | bool | list | tuple | dict | None)
        }
        head = {"memgan": __version__, "output": str(args["output"]), "options": options, "problems": problems}
        self._head = json.dumps(head, indent=1, default=str).removesuffix("\n}")
        self._path, self._file, self._num_rows = path, contextlib.ExitStack(), 0
        self._open: TextIO | None = None
        self.problem: str | None = None
        """Why there will be no report."""

    def __enter__(self) -> "Report":
        with contextlib.ExitStack() as opened:
            temporary = opened.enter_context(atomic_write(self._path, make_folders=True))
            self._open = opened.enter_context(open(temporary, "w", encoding="utf-8"))
            self._open.write(f'{self._head},\n "pictures": [')
            self._open.flush()
            self._file = opened.pop_all()
        return self

    def add(self, row: Row) -> None:
        """Write a row."""
        text = json.dumps(row.as_json())
        self._write(f"{',' * (self._num_rows > 0)}\n  {text}")
        self._num_rows += 1

    def __exit__(self, *error: object) -> None:
        self._write("\n ]\n}\n")
        try:
            if self.problem is None:
                self._file.close()
            else:
                failure = OSError(self.problem)
                self._file.__exit__(OSError, failure, None)
        except OutputError as failed:
            self.problem = self.problem or str(failed)

    def _write(self, text: str) -> None:
        """What cannot be written, as on a full disk, must not end the work."""
        if self._open is not None and self.problem is None:
            try:
                self._open.write(text)
                self._open.flush()
            except OSError as error:
                self.problem = f"the report {self._path} cannot be written ({error.strerror or error}); make room"


class Summary:
    """Counts what became of the inputs."""

    def __init__(self) -> None:
        self.num_faces = self.num_pictures = self.num_films = 0
        """What was restored."""
        self.by_status: dict[str, int] = {}

    def add(self, row: Row) -> None:
        """Count a row."""
        self.by_status[row.status] = self.by_status.get(row.status, 0) + 1
        if row.status == RESTORED and row.film is not None:
            self.num_films += 1
        elif row.status == RESTORED:
            self.num_pictures += 1
            self.num_faces += sum(face["strength"] > 0 for face in row.faces)  # not those that were left as they are

    def line(self, num_pictures: int, output: Path | None = None, num_films: int = 0) -> str:
        """One line for people on so many inputs; ``output``: where they find the results."""
        counts = [
            (self.by_status.get(UNCHANGED, 0), "left as they were"),
            (self.by_status.get(EXISTING, 0), "were there already"),
            (self.by_status.get(FAILED, 0), "failed"),
            (self.by_status.get(INTERRUPTED, 0), "interrupted"),
        ]
        more = "".join(f"; {count} {words}" for count, words in counts if count)
        parts = []
        if num_pictures or not num_films:
            faces = f"{self.num_faces} face{'s' * (self.num_faces != 1)}"
            parts.append(f"{faces} in {self.num_pictures} of {num_pictures} pictures")
        if num_films:
            of = f"{self.num_films} of " * (self.num_films < num_films)
            parts.append(f"{of}{num_films} film{'s' * (num_films != 1)}")
        where = "" if output is None else f"; see {output}"
        return f"{', '.join(parts)} restored{more}{where}"


def json_of_face(face: Any) -> dict[str, Any]:
    """A restored face without its pixels, which are in files."""
    return _json_of_find(face) | {
        "strength": face.strength,
        "sharpness": face.sharpness,
        "fidelity": face.fidelity,
        "expected_error": _json_of_error(face.expected_error),
        "reliability": _rounded(face.reliability),
        "expected_identity_distance": _rounded(face.expected_identity_distance),
        "crop_from_image": face.crop_from_image.tolist(),
    }


def _json_of_error(error: Any) -> dict[str, Any] | None:
    """What is expected inside the oval of the face, in levels of 255: the mean, and the most."""
    if error is None:
        return None
    from memgan.evaluation.metrics.regions import region_mask

    inside = error[region_mask("face", *error.shape).numpy()]
    return {"mean": round(float(inside.mean()), 2), "largest": round(float(inside.max()), 2)}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def json_of_left_alone(left: Any) -> dict[str, Any]:
    """A find that was not restored, and why."""
    return _json_of_find(left.face) | {"reason": left.reason}


def _json_of_find(face: Any) -> dict[str, Any]:
    return {
        "box_xyxy": [round(float(number), 2) for number in face.box_xyxy],
        "landmarks": [[round(float(number), 2) for number in point] for point in face.landmarks],
        "score": round(float(face.score), 4),
    }
