"""Restores one picture for the page, keeps what the network computed while it is looked at, and writes its files."""

import dataclasses
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from memgan.apps.files.inputs import InputFile
from memgan.apps.files.names import result_suffix
from memgan.apps.files.restore_files import FileWork
from memgan.apps.files.restore_options import FileOptions
from memgan.apps.files.run import RunOptions, make_planner
from memgan.apps.web.archive import zip_folder
from memgan.apps.web.job import RUNNING, Job
from memgan.apps.web.lane import Stopped
from memgan.apps.web.previews import face_preview, map_preview, picture_preview
from memgan.apps.web.studio import Studio
from memgan.apps.web.visitors import Visitor
from memgan.errors import ConfigError, ImageError, OutputError
from memgan.image import open_pages, suffix_for
from memgan.restoration.options import RestoreOptions
from memgan.restoration.result import Restoration, RestoredFace
from memgan.runtime.device import dtype_name
from memgan.runtime.per_face import PerFace, Setting
from memgan.runtime.records import FAILED
from memgan.video.options import VideoOptions

_TOLD = ("status", "reason", "faces", "left_alone", "notes", "weights", "dtype", "device", "backend", "memgan")
"""Fields of a record that say nothing of the files of this machine."""


class Looks(NamedTuple):
    """What can be changed without the network."""

    weights: Sequence[float]
    """Strength of each face, 0 to 1."""
    chosen: Sequence[int]
    """Numbers of the faces that are restored."""
    color_lock: bool
    grain: float


class FaceView(NamedTuple):
    """A face as the page shows it."""

    number: int
    before_after: Path
    error_map: Path | None
    size_px: int
    """Longer side of its box in the picture."""
    reliability: float | None
    expected_error: float | None
    """Mean of the map, in levels of 255."""
    sharpness: float | None
    weight: float
    fidelity: float


class PictureView(NamedTuple):
    """A picture as the page shows it."""

    before: Path
    after: Path
    size: tuple[int, int]
    """Width and height of the result."""
    notes: Sequence[str]


class PictureJob(Job):
    """One picture of a visitor.

    Args:
        path: of the picture, in a folder of the visitor's.
        options: as ``memgan restore`` has them.
        upsampled: enlarge the background with the network that is there.
    """

    def __init__(
        self,
        studio: Studio,
        visitor: Visitor,
        path: Path,
        options: RestoreOptions,
        *,
        upsampled: bool = False,
    ) -> None:
        super().__init__(studio, visitor)
        self.studio = studio
        self.path, self.options, self.upsampled = path, studio.adapted(options), upsampled
        self._fidelity = options.fidelity
        self.faces: Sequence[FaceView] = ()
        self.view: PictureView | None = None
        self.looks: Looks | None = None
        self._lock = threading.RLock()
        self._kept: Restoration | None = None
        self._shown: Restoration | None = None
        self._before: Path | None = None
        self._written: Path | None = None
        self.num_left_alone = 0
        """Finds that were not restored, besides those that the visitor left out."""
        self._suffix = ""
        self.record: Mapping[str, Any] = {}
        """What ``memgan restore`` would record of the faces, once the files are written."""

    def _work(self) -> None:
        with self._lock:
            before = self.looks
            self._restore()
            # What was chosen before holds for the new result too.
            self._show(self._kept_now if self.looks is not before or before is None else self._rendered(before))

    def change(self, looks: Looks) -> None:
        """Show the picture with other looks. The network runs only if what it computed was dropped meanwhile.

        Raises:
            ConfigError: if the looks are not allowed, or the picture is not restored yet. All is as before then.
            Stopped: if the picture's files were removed.
        """
        with self._lock:
            if self.view is None:
                raise ConfigError(f"{self.path.name} is not restored yet. Please wait for its result.")
            self._check(looks)
            if self._kept is None:
                self._restore_again()
            self.studio.keep(self)
            self._show(self._rendered(looks))
            self.looks = looks

    def change_some(
        self,
        weights: Sequence[float] | None,
        chosen: Sequence[int] | None,
        color_lock: bool | None,
        grain: float | None,
    ) -> None:
        """:meth:`change` what is not ``None``.

        Raises:
            ConfigError: if the looks are not allowed, or the number of ``weights`` is not that of the faces.
        """
        with self._lock:
            if self.looks is None:
                raise ConfigError(f"{self.path.name} is not restored yet. Please wait for its result.")
            self.change(
                Looks(
                    self.looks.weights if weights is None else weights,
                    self.looks.chosen if chosen is None else chosen,
                    self.looks.color_lock if color_lock is None else color_lock,
                    self.looks.grain if grain is None else grain,
                )
            )

    def change_fidelity(self, fidelities: Sequence[float]) -> None:
        """What the network is to make of the faces the next time that it runs: :meth:`run` does it. Does not wait.

        Args:
            fidelities: of the first faces; others keep theirs.

        Raises:
            ConfigError: if one is not allowed.
        """
        rest = [face.fidelity for face in self.faces[len(fidelities) :]]
        self._fidelity = dataclasses.replace(self.options, fidelity=_setting([*fidelities, *rest], 0.0)).fidelity

    def result(self) -> Path:
        """The file of the whole picture, as ``memgan restore`` writes it with these options.

        Raises:
            OutputError: if it cannot be written.
        """
        with self._lock:
            return self._write()[0]

    def everything(self) -> Path:
        """A zip file of all that ``memgan restore`` writes, faces, maps and record too."""
        with self._lock:
            folder = self._write()[1]
            archive = folder.parent / f"{self.path.stem}_memgan.zip"
            if not archive.exists():
                zip_folder(folder, archive, self.studio.without_folders)
            return archive

    def file(self, what: str) -> Path | None:
        """See :meth:`Job.file`."""
        return {"photograph": self.result, "all": self.everything}.get(what, lambda: None)()

    def forget(self) -> int:
        """Drop what the network has computed; bytes that this frees. What is shown and written stays."""
        if not self._lock.acquire(blocking=False):
            return 0  # somebody is at it just now
        try:
            freed = self.size_bytes
            self._kept = self._shown = None
            return freed
        finally:
            self._lock.release()

    @property
    def result_name(self) -> str:
        """Of the file of the whole picture, as a download is called."""
        return f"{self.path.stem}_restored{self._suffix or self.path.suffix}"

    @property
    def size_bytes(self) -> int:
        """About what it keeps in memory."""
        kept, shown = self._kept, self._shown
        found = 0
        for result in {id(one): one for one in (kept, shown) if one is not None}.values():
            found += sum(_bytes_of(face) for face in result.faces)
            found += 0 if result.picture is None else 2 * result.picture.rgb.nbytes
        return found

    @property
    def _kept_now(self) -> Restoration:
        if self._kept is None:
            raise Stopped
        return self._kept

    def _check(self, looks: Looks) -> None:
        for name, numbers in (("strengths", looks.weights), ("faces", looks.chosen)):
            if not isinstance(numbers, Sequence) or isinstance(numbers, str):
                raise ConfigError(f"{name} is {numbers!r}; give a list of numbers.")
        count = len(self.faces)
        if len(looks.weights) != count:
            raise ConfigError(f"strengths has {len(looks.weights)} numbers; give {count}, one for each face.")
        if len(looks.chosen) > count:  # one may be named twice, but not without end
            raise ConfigError(f"faces has {len(looks.chosen)} numbers; there are {count} faces.")

    def _rendered(self, looks: Looks) -> Restoration:
        chosen, weights = tuple(looks.chosen), dict(enumerate(looks.weights))
        if not chosen:  # none is left out, and none is changed
            chosen, weights = tuple(range(len(weights))), dict.fromkeys(weights, 0.0)
        return self._kept_now.rerender(weights=weights, faces=chosen, color_lock=looks.color_lock, grain=looks.grain)

    def _restore_again(self) -> None:
        """Compute what was dropped; the job itself stays over."""
        before = self.progress
        try:
            self._restore()
        finally:
            self.progress = before

    def _restore(self) -> None:
        """Run the network, once it is this picture's turn."""
        studio, options = self.studio, dataclasses.replace(self.options, fidelity=self._fidelity)
        with studio.lane.turn(urgent=True, stops=self.stops, tell=self._in_line):
            self._tell(RUNNING, "Restoring")
            pages = open_pages(self.path)
            if len(pages) > 1:
                raise ImageError(
                    f"{self.path.name} holds {len(pages)} pictures; give it under “Many pictures”, "
                    "where all of them are restored"
                )
            studio.check_size(self.path.name, pages.num_pixels, options.upscale)
            picture = next(iter(pages))
            if self._before is None:
                self._before = picture_preview(picture, self._previews)
            pipeline = studio.pipeline(upsampled=self.upsampled)
            result = pipeline.restore(picture, dataclasses.replace(options, keep=True))
        is_other = self.looks is None or options != self.options or len(result.faces) != len(self.faces)
        self.options = options
        self._kept, self.num_left_alone = result, len(result.left_alone)
        if result.picture is not None:
            self._suffix = suffix_for(result.picture, result_suffix(PurePath(self.path.name), "auto"))
        if is_other:
            self._show_faces(result.faces)
        studio.keep(self)

    def _show_faces(self, faces: Sequence[RestoredFace]) -> None:
        count, old = len(faces), self.faces
        weights = self._per_face(self.options.weight, count)
        fidelities = self._per_face(self.options.fidelity, count)
        self.faces = [
            self._face_view(number, face, weights[number], fidelities[number]) for number, face in enumerate(faces)
        ]
        if self.looks is None or len(self.looks.weights) != count:
            self.looks = Looks(weights, range(count), self.options.color_lock, self.options.grain)
        for path in (path for view in old for path in (view.before_after, view.error_map) if path is not None):
            path.unlink(missing_ok=True)

    def _show(self, result: Restoration) -> None:
        if result.picture is None or self._before is None:
            raise Stopped
        height, width = result.picture.rgb.shape[:2]
        after = picture_preview(result.picture, self._previews)
        old, self._shown = self.view, result
        self.view = PictureView(self._before, after, (width, height), result.problems)
        self._written = None
        if old is not None:
            old.after.unlink(missing_ok=True)

    def _write(self) -> tuple[Path, Path]:
        """Write all files of what is shown, unless they are there: the whole picture's, and the folder of all."""
        if self._written is not None and self._written.is_file():
            return self._written, self._output
        if self._shown is None:  # dropped meanwhile
            if self.looks is None:
                raise OutputError(f"{self.path.name} is not restored yet; wait for its result")
            self.change(self.looks)
        shutil.rmtree(self._output, ignore_errors=True)
        for old in self.folder.glob("*.zip"):
            old.unlink()
        options = self.options_now
        asked = RunOptions(FileOptions(output=self._output), options, self.studio.parts, VideoOptions())
        planner = make_planner(asked, self.studio.weights_of(options), folds=False)
        work = FileWork(planner.plan(InputFile(self.path, PurePath(self.path.name))), planner, options)
        if self._shown is not None:
            work.add(self._shown, None)
        dtype = dtype_name(self.studio.restorer.dtype)
        row = planner.record(dataclasses.replace(work.end(), dtype=dtype, **self.studio.known(options)))
        if row.status == FAILED or row.output is None:
            raise OutputError(row.reason or f"{self.path.name} cannot be written")
        self._written = self._output / row.output
        self.record = {name: value for name, value in row.as_json().items() if name in _TOLD}
        return self._written, self._output

    @property
    def options_now(self) -> RestoreOptions:
        """The options with which ``memgan restore`` writes what is shown."""
        if self.looks is None:
            return self.options
        chosen = list(self.looks.chosen)
        weights, fidelities = self.looks.weights, self._per_face(self.options.fidelity, len(self.looks.weights))
        face_index = None
        if not chosen:  # none of them
            weights = [0.0] * len(weights)
        elif chosen != list(range(len(weights))):  # numbers of strengths count those that are chosen
            face_index = tuple(chosen)
            weights, fidelities = ([each[number] for number in chosen] for each in (weights, fidelities))
        return dataclasses.replace(
            self.options,
            weight=_setting(weights, 1.0),
            fidelity=_setting(fidelities, 0.0),
            face_index=face_index,
            color_lock=self.looks.color_lock,
            grain=self.looks.grain,
        )

    @property
    def _output(self) -> Path:
        return self.folder / "results"

    @property
    def _previews(self) -> Path:
        return self.folder / "previews"

    def _face_view(self, number: int, face: RestoredFace, weight: float, fidelity: float) -> FaceView:
        left, top, right, bottom = face.box_xyxy.tolist()
        return FaceView(
            number,
            face_preview(face, self._previews),
            None if face.expected_error is None else map_preview(face, self._previews),
            round(max(right - left, bottom - top)),
            face.reliability,
            None if face.expected_error is None else float(face.expected_error.mean()),
            face.sharpness,
            weight,
            fidelity,
        )

    @staticmethod
    def _per_face(setting: Setting, count: int) -> list[float]:
        return setting.of_each_face("faces", count) if isinstance(setting, PerFace) else [setting] * count


def _setting(numbers: Sequence[float], rest: float) -> Setting:
    """One number if it is that of all faces."""
    if len(set(numbers)) == 1:
        return numbers[0]
    return PerFace(tuple(enumerate(numbers)), rest) if numbers else rest


def _bytes_of(face: RestoredFace) -> int:
    arrays = (face.crop, face.crop, face.restored, face.mask, face.expected_error)
    return sum(array.nbytes for array in arrays if array is not None)
