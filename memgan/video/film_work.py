"""Restores one film: plans it, takes its frames through network and paste-back, and has them written."""

import contextlib
import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from memgan.image import Picture
from memgan.restoration.background import enlarge
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline
from memgan.runtime.atomic_file import atomic_write, write_json
from memgan.runtime.isolation import own_settings
from memgan.runtime.prefetch import prefetch
from memgan.runtime.threads import default_threads
from memgan.video.film import Film
from memgan.video.film_faces import FilmFaces, json_of_left_alone, json_of_tracks
from memgan.video.film_planner import FilmPlanner
from memgan.video.frame import Frame
from memgan.video.frame_restorer import FrameRestorer, FrameWork
from memgan.video.kept_keys import KeptKeys
from memgan.video.options import VideoOptions
from memgan.video.view import view_of
from memgan.video.writer import FilmWriter

_FACES = "faces.json"
_KEPT_PIXELS = 2**24
_AT_ONCE = 2  # frames for each thread that are pasted together on a CPU


class FilmProgress(NamedTuple):
    """How far the work is."""

    stage: str
    """``faces`` (they are found and followed), ``looks`` (and looked at), ``restoring``, ``joining``."""
    done: int
    """Frames."""
    total: int | None
    """Frames in all; ``None``: nobody knows."""


@dataclasses.dataclass(frozen=True)
class FilmResult:
    """What became of a film."""

    num_frames: int
    tracks: list[dict[str, Any]]
    """That were restored, the largest first: frames, boxes in square pixels, strength, fidelity."""
    left_alone: list[dict[str, Any]]
    """Other tracks, with the reason."""
    notes: list[str]
    """What was done or left out, in short sentences."""
    problems: list[str]
    """What is damaged in the film; the rest of it was restored."""
    changed: bool
    """``False``: no face looks different; where nothing else was asked for, the result is a copy of the file."""
    is_complete: bool = True
    """``False``: the work was stopped. What is done lies beside the result; the same call goes on from there."""


Size = tuple[int, int] | None
"""Width and height of the result; ``None``: those of the film."""
FilmFrame = FrameWork[Frame]


class FilmWork:
    """The restoration of one film."""

    def __init__(
        self,
        film: Film,
        writer: FilmWriter,
        pipeline: Pipeline,
        options: RestoreOptions,
        video: VideoOptions,
        progress: Callable[[FilmProgress], object] | None,
        stops: Callable[[], bool],
    ) -> None:
        self._film, self._writer, self._pipeline, self._options, self._video = film, writer, pipeline, options, video
        self._progress = progress or (lambda _: None)
        self._stops = stops
        info = film.info
        self._num_pixels = info.width * info.height
        self._view = view_of(info)
        self._curve = self._view.curve
        is_cpu = pipeline.device.type == "cpu"
        max_batch = 1 if is_cpu else options.max_batch  # a larger one is no faster on a CPU, and takes more memory
        self._frames = FrameRestorer(
            pipeline,
            options,
            self._view,
            max_batch=max_batch,
            every=video.every,
            steadiness=video.steadiness,
            threads=1 if is_cpu else pipeline.threads,
        )
        # Making RGB again takes less than the memory of many frames.
        self._keeps_rgb = self._num_pixels * (max_batch * video.every + self._frames.delay) <= _KEPT_PIXELS
        self._kept = KeptKeys(writer.folder, writer.segment_frames)

    def run(self, output: Path, size: tuple[int, int] | None) -> FilmResult:
        """Restore it, or go on with that."""
        faces = self._faces()
        if faces is None:
            return self._result(None, [])
        if not faces.changes and size is None and self._is_copied(output):
            with atomic_write(output) as temporary:
                shutil.copyfile(self._film.path, temporary)
            self._writer.discard()
            return self._result(faces, ["no face changes: the result is a copy of the file"])
        if not faces.changes:
            self._writer.metadata.clear()  # it would say that faces were restored
        self._progress(FilmProgress("restoring", self._writer.num_written, faces.num_frames))
        for done, frame in enumerate(self._restored(faces, size), 1):
            self._writer.write(frame)
            if done > self._writer.num_written:
                self._progress(FilmProgress("restoring", done, faces.num_frames))
            self._kept.drop(done)
            if self._stops() and done < faces.num_frames:
                return self._result(faces, [], is_complete=False)
        problems = self._writer.finish(lambda done: self._progress(FilmProgress("joining", done, faces.num_frames)))
        return self._result(faces, [], problems)

    def _result(
        self,
        faces: FilmFaces | None,
        notes: Sequence[str],
        problems: Sequence[str] = (),
        *,
        is_complete: bool = True,
    ) -> FilmResult:
        notes = [*self._film.notes, *self._writer.notes, *notes]
        if self._curve is not None and faces is not None and faces.changes:
            notes.append(f"faces went through the network by {self._curve.name}, and back")
        return FilmResult(
            0 if faces is None else faces.num_frames,
            [] if faces is None else json_of_tracks(faces),
            [] if faces is None else json_of_left_alone(faces),
            list(dict.fromkeys(notes)),
            list(dict.fromkeys([*self._film.problems, *problems])),
            faces is not None and faces.changes,
            is_complete and faces is not None,
        )

    def _is_copied(self, output: Path) -> bool:
        """Whether a film in which nothing changes is the file as it is."""
        usual = VideoOptions(every=self._video.every, steadiness=self._video.steadiness)
        return self._video == usual and output.suffix.lower() == self._film.path.suffix.lower()

    def _faces(self) -> FilmFaces | None:
        """The plan, as it was made before or made now; ``None``: the work was stopped."""
        place = self._writer.folder / _FACES
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return FilmFaces.from_json(json.loads(place.read_text("utf-8")))
        faces = FilmPlanner(
            self._film,
            self._view,
            self._frames,
            self._pipeline,
            self._options,
            self._video,
            lambda stage, done, total: self._progress(FilmProgress(stage, done, total)),
            self._stops,
        ).plan()
        if faces is None:
            return None
        write_json(place, faces.as_json())
        return faces

    def _restored(self, faces: FilmFaces, size: tuple[int, int] | None) -> Iterator[Frame]:
        """All frames with their faces; those that are written already as they are."""
        frames = self._film.frames(faces.first, faces.first + faces.num_frames)
        num_written = self._writer.num_written
        yield from itertools.islice(frames, num_written)
        works = (
            FrameWork(index, frame, found, self._num_pixels)
            for index, (frame, found) in enumerate(zip(frames, faces.works(num_written), strict=False), num_written)
        )
        keys, keep = None, None
        if self._video.every > 1 or self._video.steadiness > 0:
            keys, keep = self._kept.load(num_written), self._kept.keep
        if self._pipeline.device.type == "cpu":
            yield from self._in_turn(works, size, keys, keep)
        else:
            yield from self._overlapping(works, size, keys, keep)

    def _overlapping(self, works: Iterator[FilmFrame], size: Size, keys: Any, keep: Any) -> Iterator[Frame]:
        """Every stage in a thread of its own, while the device runs the network."""
        with contextlib.ExitStack() as stack:
            for stage in (
                lambda works: map(self._prepared, works),
                self._frames.run,
                lambda works: self._frames.settle(works, keys, keep),
            ):
                works = stack.enter_context(contextlib.closing(prefetch(stage(works))))
            for work in works:
                yield self._composed(work, size)

    def _in_turn(self, works: Iterator[FilmFrame], size: Size, keys: Any, keep: Any) -> Iterator[Frame]:
        """The network with all threads, then what comes before and after it with one thread a frame: together they
        would take the same cores from each other, and the network waits for its slowest thread."""
        threads = default_threads() if self._pipeline.threads is None else self._pipeline.threads
        with ThreadPoolExecutor(threads, thread_name_prefix="memgan-film") as pool:

            def several(items: Iterator[FilmFrame]) -> Iterator[list[FilmFrame]]:
                while some := list(itertools.islice(items, threads * _AT_ONCE)):
                    yield some

            prepared = (work for some in several(works) for work in pool.map(self._prepared, some))
            for some in several(self._frames.settle(self._frames.run(prepared), keys, keep)):
                yield from pool.map(lambda work: self._composed(work, size), some)

    def _prepared(self, work: FilmFrame) -> FilmFrame:
        """A frame with its faces cut out."""
        if work.faces:
            rgb = work.source.rgb()
            self._frames.prepare(work, rgb)
            work.rgb = rgb if self._keeps_rgb else None
        return work

    def _composed(self, work: FilmFrame, size: Size) -> Frame:
        frame, upsampler = work.source, self._pipeline.bg_upsampler
        base = frame if size is None else frame.resized(*size)
        has_faces = any(face.aligned is not None and face.sharpness != 1 for face in work.faces)
        if not has_faces and (size is None or upsampler is None):
            return base
        rgb = frame.rgb() if work.rgb is None else work.rgb
        if size is None:
            canvas = rgb.copy()
        elif upsampler is None:
            canvas = base.rgb()
        else:
            with own_settings(self._pipeline.threads):
                canvas = enlarge(Picture(rgb), size, self._options.upscale, upsampler).rgb
        changed, _ = self._frames.compose(work, rgb, canvas)
        if size is not None and upsampler is not None:
            changed[:] = True
        return base.with_changes(canvas, changed) if changed.any() else base
