"""Restores the files of ``memgan restore``, writes the results and reports them."""

import contextlib
import dataclasses
import itertools
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memgan.apps.cli.inputs import InputPicture
from memgan.apps.cli.jobs import in_order
from memgan.apps.cli.restore_options import COMPARED, CROPPED, PICTURES, RESTORED, FileOptions
from memgan.errors import OutputError
from memgan.image import Picture, all_suffixes, save_picture
from memgan.restoration.options import RestoreOptions
from memgan.restoration.restorer import MemGANRestorer
from memgan.restoration.result import Restoration, RestoredFace
from memgan.runtime.atomic_file import atomic_write
from memgan.version import __version__


@dataclasses.dataclass(frozen=True)
class Entry:
    """What became of one input, as the report has it."""

    input: Path
    status: str
    """``restored``, ``existing`` (left out, since its result is there) or ``failed``."""
    output: Path | None = None
    """The whole picture, if one was written or is there."""
    seconds: float = 0.0
    """Since the result before it."""
    problem: str | None = None
    faces: Sequence[dict[str, Any]] = ()
    """Without their pixels, which are in files."""


class FileRestorer:
    """Restores files and writes their results.

    ``jobs``: pictures worked on at the same time by threads; 1: one after the other, and their faces share the batches
    of a GPU.
    """

    def __init__(self, restorer: MemGANRestorer, options: RestoreOptions, files: FileOptions, jobs: int = 1) -> None:
        self._restorer, self._files, self._jobs = restorer, files, jobs
        if jobs > 1:
            options = dataclasses.replace(options, overlap=False)  # the jobs overlap each other
        if restorer.device.type == "cpu":
            # A larger batch is no faster there: no picture waits for others, and less memory is needed.
            options = dataclasses.replace(options, max_batch=1)
        self._options = options
        self._end = f"_{files.suffix}" if files.suffix else ""

    def run(self, inputs: Sequence[InputPicture]) -> Iterator[Entry]:
        """What became of each input, in their order. An OutputError if a result cannot be written."""
        if self._jobs == 1:
            return self._restore(inputs)
        entries = in_order(lambda item: list(self._restore([item])), inputs, self._jobs)
        return itertools.chain.from_iterable(entries)

    def _restore(self, inputs: Sequence[InputPicture]) -> Iterator[Entry]:
        waiting: deque[InputPicture | Entry] = deque()  # begun, or there already; in the order of the inputs

        def paths() -> Iterator[Path]:
            for item in inputs:
                existing = self._existing(item)
                waiting.append(item if existing is None else existing)
                if existing is None:
                    yield item.path

        begin = time.perf_counter()
        results = self._restorer.pipeline.run(paths(), self._options, raise_errors=False)
        with contextlib.closing(results):
            for result in results:
                while isinstance(item := waiting.popleft(), Entry):
                    yield item
                entry = self._written(item, result)
                yield dataclasses.replace(entry, seconds=round(time.perf_counter() - begin, 3))
                begin = time.perf_counter()
        yield from (item for item in waiting if isinstance(item, Entry))

    def _existing(self, item: InputPicture) -> Entry | None:
        """An input that is left out, since its result is there."""
        whole = None if self._options.has_aligned else self._whole_path(item)
        expected = self._face_path(RESTORED, item, 0, self._end) if whole is None else whole
        is_there = self._files.skip_existing and expected.exists()
        return Entry(item.path, "existing", whole) if is_there else None

    def _written(self, item: InputPicture, result: Restoration) -> Entry:
        """Write the files of one input."""
        if result.error is not None:
            problem = str(result.error)
            if isinstance(result.error, torch.cuda.OutOfMemoryError):
                problem = "the GPU's memory is too small for it; use --device cpu, or a smaller --bg-tile or --upscale"
            return Entry(item.path, "failed", problem=problem)
        if not self._files.no_faces:
            for index, face in enumerate(result.faces):
                _write(face.crop, self._face_path(CROPPED, item, index))
                _write(face.restored, self._face_path(RESTORED, item, index, self._end))
                _write(np.hstack([face.crop, face.restored]), self._face_path(COMPARED, item, index))
        whole = None
        if result.picture is not None:
            whole = self._whole_path(item)
            _write(result.picture, whole)
        return Entry(item.path, "restored", whole, faces=[_as_json(face) for face in result.faces])

    def _whole_path(self, item: InputPicture) -> Path:
        own = item.path.suffix.lower()
        suffix = f".{self._files.ext}" if self._files.ext != "auto" else own if own in all_suffixes() else ".png"
        return self._files.output / PICTURES / item.name.with_name(f"{item.name.name}{self._end}{suffix}")

    def _face_path(self, folder: str, item: InputPicture, index: int, end: str = "") -> Path:
        return self._files.output / folder / item.name.with_name(f"{item.name.name}_{index:02d}{end}.png")


def _write(picture: Picture | np.ndarray, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path.parent} ({error.strerror}); choose another output") from error
    save_picture(picture if isinstance(picture, Picture) else Picture(picture), path)


def summary(entries: Sequence[Entry], num_inputs: int, output: Path) -> str:
    """One line for people."""
    num_faces = sum(len(entry.faces) for entry in entries)
    existing, done = (sum(entry.status == status for entry in entries) for status in ("existing", "restored"))
    note = f"; {existing} were there already" if existing else ""
    return f"{num_faces} faces in {done} of {num_inputs} pictures restored{note}; see {output}"


def write_report(path: Path, args: Mapping[str, object], problems: Sequence[str], entries: Sequence[Entry]) -> None:
    """Write a JSON file for programs that continue from here, all or nothing.

    Raises:
        OutputError: if it cannot be written.
    """
    options = {
        name: [str(v) for v in value] if isinstance(value, list | tuple) else value
        for name, value in args.items()
        if isinstance(value, str | int | float | bool | list | tuple | None)
    }
    pictures = [vars(entry) for entry in entries]
    content = {"memgan": __version__, "output": args["output"], "options": options, "problems": problems}
    with atomic_write(path) as temporary:
        text = json.dumps({**content, "pictures": pictures}, indent=1, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")


def _as_json(face: RestoredFace) -> dict[str, Any]:
    return {
        "box_xyxy": np.round(face.box_xyxy.astype(float), 2).tolist(),
        "landmarks": np.round(face.landmarks.astype(float), 2).tolist(),
        "score": round(float(face.score), 4),
        "strength": face.strength,
        "crop_from_image": face.crop_from_image.tolist(),
    }
