"""The work of ``memgan restore`` on each file, and the report of it."""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memgan.apps.cli.inputs import InputPicture
from memgan.apps.cli.jobs import in_order
from memgan.errors import ImageError, MissingDependencyError, OutputError
from memgan.image import Picture, all_suffixes, load_picture, save_picture
from memgan.restoration.restorer import MemGANRestorer
from memgan.restoration.result import Restoration, RestoredFace
from memgan.runtime.atomic_file import atomic_write
from memgan.version import __version__

PICTURES, RESTORED, CROPPED, COMPARED = "restored_imgs", "restored_faces", "cropped_faces", "cmp"
_NOTHING = np.empty((0, 0, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class Entry:
    """What became of one input."""

    input: Path
    status: str
    """``restored``, ``existing`` (left out, since its result is there) or ``failed``."""
    output: Path | None = None
    """The whole picture, if one was written or is there."""
    faces: tuple[RestoredFace, ...] = ()
    """Without their pixels, which are in files."""
    seconds: float = 0.0
    problem: str | None = None


class FileRestorer:
    """Restores files one by one, or several at the same time."""

    def __init__(self, restorer: MemGANRestorer, args: argparse.Namespace, jobs: int = 1) -> None:
        self._restorer, self._args, self._jobs = restorer, args, jobs
        self._end = f"_{args.suffix}" if args.suffix else ""

    def run(self, inputs: Sequence[InputPicture]) -> Iterator[Entry]:
        """What became of each input, in their order.

        Raises:
            OutputError: if a result cannot be written.
        """
        return in_order(self._restore, inputs, self._jobs)

    def _restore(self, item: InputPicture) -> Entry:
        begin = time.perf_counter()
        whole = None if self._args.aligned else self._whole_path(item)
        expected = self._face_path(RESTORED, item, 0, self._end) if whole is None else whole
        if self._args.skip_existing and expected.exists():
            return Entry(item.path, "existing", whole)
        try:
            result = self._result(load_picture(item.path))
        except (ImageError, MissingDependencyError) as error:
            return Entry(item.path, "failed", problem=str(error))
        except torch.cuda.OutOfMemoryError:
            problem = "the GPU's memory is too small for it; use --device cpu, or a smaller --bg-tile or --upscale"
            return Entry(item.path, "failed", problem=problem)
        if not self._args.no_faces:
            for index, face in enumerate(result.faces):
                _write(face.crop, self._face_path(CROPPED, item, index))
                _write(face.restored, self._face_path(RESTORED, item, index, self._end))
                _write(np.hstack([face.crop, face.restored]), self._face_path(COMPARED, item, index))
        if result.picture is not None and whole is not None:
            _write(result.picture, whole)
        faces = tuple(
            dataclasses.replace(face, crop=_NOTHING, restored=_NOTHING, mask=_NOTHING) for face in result.faces
        )
        return Entry(item.path, "restored", whole, faces, time.perf_counter() - begin)

    def _result(self, picture: Picture) -> Restoration:
        args = self._args
        faces = None
        if args.face_index is not None:
            found = self._restorer.detect(picture)
            faces = [found[index] for index in args.face_index if index < len(found)]
        return self._restorer.restore(
            picture, faces=faces, has_aligned=args.aligned, only_center_face=args.only_center_face, weight=args.weight
        )

    def _whole_path(self, item: InputPicture) -> Path:
        own = item.path.suffix.lower()
        suffix = f".{self._args.ext}" if self._args.ext != "auto" else own if own in all_suffixes() else ".png"
        return self._args.output / PICTURES / item.name.with_name(f"{item.name.name}{self._end}{suffix}")

    def _face_path(self, folder: str, item: InputPicture, index: int, end: str = "") -> Path:
        return self._args.output / folder / item.name.with_name(f"{item.name.name}_{index:02d}{end}.png")


def _write(picture: Picture | np.ndarray, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path.parent} ({error.strerror}); choose another output") from error
    save_picture(picture if isinstance(picture, Picture) else Picture(picture), path)


class Report:
    """Counts, and the JSON file for programs that go on from here."""

    def __init__(self, args: argparse.Namespace, problems: Sequence[str]) -> None:
        self._args, self._problems = args, list(problems)
        self._entries: list[Entry] = []

    @property
    def num_failed(self) -> int:
        """Inputs without a result."""
        return sum(entry.status == "failed" for entry in self._entries)

    def add(self, entry: Entry) -> None:
        """Take note of one input."""
        self._entries.append(entry)

    def summary(self, num_inputs: int) -> str:
        """One line for people."""
        num_faces = sum(len(entry.faces) for entry in self._entries)
        existing = sum(entry.status == "existing" for entry in self._entries)
        done = sum(entry.status == "restored" for entry in self._entries)
        note = f"; {existing} were there already" if existing else ""
        return f"{num_faces} faces in {done} of {num_inputs} pictures restored{note}; see {self._args.output}"

    def write(self, path: Path) -> None:
        """Write the report, all or nothing.

        Raises:
            OutputError: if it cannot be written.
        """
        options = {
            name: [str(v) for v in value] if isinstance(value, list | tuple) else value
            for name, value in vars(self._args).items()
            if isinstance(value, str | int | float | bool | list | tuple | None)
        }
        content = {
            "memgan": __version__,
            "output": str(self._args.output),
            "options": options,
            "problems": self._problems,
            "pictures": [_as_json(entry) for entry in self._entries],
        }
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _as_json(entry: Entry) -> dict[str, Any]:
    return {
        "input": str(entry.input),
        "status": entry.status,
        "output": None if entry.output is None else str(entry.output),
        "seconds": round(entry.seconds, 3),
        "problem": entry.problem,
        "faces": [
            {
                "box_xyxy": np.round(face.box_xyxy.astype(float), 2).tolist(),
                "landmarks": np.round(face.landmarks.astype(float), 2).tolist(),
                "score": round(float(face.score), 4),
                "strength": face.strength,
                "crop_from_image": face.crop_from_image.tolist(),
            }
            for face in entry.faces
        ],
    }
