"""Restores films: every frame, every track of faces; everything else of the file is carried along."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from memgan.errors import FilmError
from memgan.faces.sharpness import sharpness
from memgan.image import Picture
from memgan.restoration.background import enlarge
from memgan.restoration.identity_gate import IdentityGate
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline
from memgan.restoration.restorer import MemGANRestorer
from memgan.runtime.atomic_file import atomic_write, write_json
from memgan.runtime.isolation import own_settings
from memgan.runtime.prefetch import prefetch
from memgan.runtime.records import digest
from memgan.version import __version__
from memgan.video.choice import choose_tracks
from memgan.video.film import Film, open_film
from memgan.video.film_faces import FilmFaces, PlannedTrack, json_of_left_alone, json_of_tracks, plan_tracks
from memgan.video.frame import Frame
from memgan.video.frame_restorer import FaceWork, FrameRestorer, FrameWork
from memgan.video.hdr import hdr_curve
from memgan.video.kept_keys import KeptKeys
from memgan.video.options import VideoOptions
from memgan.video.stream import Stream
from memgan.video.tracker import Tracker
from memgan.video.tracks import FrameFaces, collect_tracks
from memgan.video.view import FilmView
from memgan.video.writer import FilmWriter, check_output

_FACES = "faces.json"
_KEPT_PIXELS = 2**23
_WITHOUT_EFFECT = {"max_batch", "overlap", "color", "evidence", "paste_back", "reliability", "has_aligned"}
"""Options of pictures that a film's pixels do not depend on."""


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


def _never() -> bool:
    return False


class VideoRestorer:
    """Restores films with the network, detector and options of a restorer.

    Args:
        restorer: its options hold for every frame. Numbers of faces (``weight``, ``fidelity``, ``face_index``) count
            tracks, the largest first.
        options: how films are read and written.

    Raises:
        MissingDependencyError: if PyAV is not installed.
    """

    def __init__(self, restorer: MemGANRestorer, options: VideoOptions | None = None) -> None:
        self.restorer, self.options = restorer, options or VideoOptions()

    def plan(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        options: RestoreOptions | None = None,
    ) -> list[str]:
        """Find out, before the work, whether a film can be read and its result be written; see :meth:`restore`.

        Returns:
            Notes on what cannot come along.

        Raises:
            FilmError: if it is no film that can be read.
            ConfigError: if the result cannot be written so; with what to choose instead.
        """
        with open_film(path) as film:
            return check_output(film, output, self.options, self._size(film, options or self.restorer.options))

    def restore(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        options: RestoreOptions | None = None,
        provenance: bool = True,
        progress: Callable[[FilmProgress], object] | None = None,
        stops: Callable[[], bool] = _never,
    ) -> FilmResult:
        """Restore a film. If it was begun before with the same options, it goes on where that has ended.

        Args:
            path: of the film.
            output: of the result; it appears when it is complete.
            options: instead of the restorer's.
            provenance: state in the file's comment that faces were restored, and how.
            progress: is told how far the work is, at every frame.
            stops: whether to stop; asked at every frame.

        Raises:
            FilmError: if the film cannot be read.
            ConfigError: if an option is not allowed, or the result cannot be written so.
            OutputError: if the result cannot be written.
        """
        options = self.restorer.options if options is None else options
        pipeline = self.restorer.pipeline
        pipeline.check_options(options)
        with open_film(path) as film:
            size = self._size(film, options)
            start, stop = self.options.range
            writer = FilmWriter(
                film,
                output,
                self.options,
                size=size,
                key=self._key(pipeline, options),
                start=start,
                stop=stop,
                cut=self.options.frames is not None,
                metadata={"comment": _comment(options)} if provenance else None,
            )
            with writer:
                work = _FilmWork(film, writer, pipeline, options, self.options, progress, stops)
                return work.run(Path(output), size)

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Restore frames as they come, of a camera or of any other source.

        Faces are chosen, and the identity gate is asked, when a track begins; ``face_index`` counts the faces of that
        frame. Numbers of ``weight`` and ``fidelity`` count tracks in the order in which they begin.

        Args:
            frames: pictures of one size as :meth:`memgan.MemGANRestorer.enhance` takes them; may be endless.

        Yields:
            Every frame in its order, ``upscale`` times as large, after up to :attr:`delay` further ones were taken.

        Raises:
            ImageError: if a frame is no picture.
            FilmError: if its size is another one than that of the frames before.
        """
        pipeline = self.restorer.pipeline
        pipeline.check_options(self.restorer.options)
        return Stream(pipeline, self.restorer.options, self.options).run(frames)

    @property
    def delay(self) -> int:
        """Most frames that :meth:`stream` takes after a frame before it gives that."""
        return Stream(self.restorer.pipeline, self.restorer.options, self.options).delay

    def _size(self, film: Film, options: RestoreOptions) -> tuple[int, int] | None:
        """Width and height of the result, even as most codecs want it; ``None``: those of the film."""
        if options.upscale == 1:
            return None
        width, height = (int(side * options.upscale) // 2 * 2 for side in (film.info.width, film.info.height))
        if min(width, height) < 2:
            raise FilmError(
                f"{film.path} has {film.info.width} x {film.info.height} pixels; {options.upscale:g} times as large, "
                "nothing is left; choose another upscale"
            )
        return width, height

    def _key(self, pipeline: Pipeline, options: RestoreOptions) -> str:
        """Equal where the restored frames are."""
        chosen = {name: value for name, value in dataclasses.asdict(options).items() if name not in _WITHOUT_EFFECT}
        return digest(
            {
                **chosen,
                "every": self.options.every,
                "steadiness": self.options.steadiness,
                "weights": _network_digest(pipeline.network),
                "network": type(pipeline.network).__name__,
                "dtype": str(pipeline.settled_dtype),
                "device": pipeline.device.type,
                "detector": _name_of(pipeline.detector),
                "mask": _name_of(pipeline.mask),
                "identity": None if pipeline.identity is None else repr(dataclasses.replace(pipeline.identity)),
                "upsampler": _name_of(pipeline.bg_upsampler),
                "version": __version__,
            }
        )


class _FilmWork:
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
        self._curve = hdr_curve(info)
        aspect = info.sample_aspect_ratio
        self._view = FilmView(self._curve, 1 / aspect if info.rotation % 180 else aspect)
        # A larger batch is no faster on a CPU, and takes more memory.
        max_batch = 1 if pipeline.device.type == "cpu" else options.max_batch
        self._frames = FrameRestorer(pipeline, options, self._view, max_batch=max_batch, steadiness=video.steadiness)
        # Making RGB again takes less than the memory of many frames.
        self._keeps_rgb = self._num_pixels * max_batch * video.every <= _KEPT_PIXELS
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
        if self._curve is not None:
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
        asked = dataclasses.replace(self._video, every=1)
        return asked == VideoOptions() and output.suffix.lower() == self._film.path.suffix.lower()

    def _faces(self) -> FilmFaces | None:
        """The plan, as it was made before or made now; ``None``: the work was stopped."""
        place = self._writer.folder / _FACES
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return FilmFaces.from_json(json.loads(place.read_text("utf-8")))
        faces = self._followed()
        if faces is None or not self._look(faces):
            return None
        write_json(place, faces.as_json())
        return faces

    def _followed(self) -> FilmFaces | None:
        """Find and follow the faces of all frames."""
        start, stop = self._video.range
        tracker = Tracker(self._pipeline.detector)
        num_frames = 0
        hint = self._film.info.num_frames_hint
        total = None if hint is None else max(min(hint, hint if stop is None else stop) - start, 0)

        def settled() -> Iterator[FrameFaces]:
            nonlocal num_frames
            with contextlib.closing(prefetch(self._seen(start, stop))) as frames:
                for seen in frames:
                    with own_settings(self._pipeline.threads):
                        found = tracker.feed(seen)
                    num_frames += 1
                    self._progress(FilmProgress("faces", num_frames, total))
                    yield from found
                    if self._stops():
                        return
            with own_settings(self._pipeline.threads):
                found = tracker.finish()
            yield from found

        tracks = collect_tracks(settled())
        if self._stops():
            return None
        if num_frames == 0:
            raise FilmError(
                f"{self._film.path} has no frame from {start} on that can be read; choose other --frames, or leave "
                "them out"
            )
        width, height = self._view.size(self._film.info.width, self._film.info.height)
        chosen, left_alone = choose_tracks(tracks, self._options, width, height)
        planned = plan_tracks(chosen, self._options)
        return FilmFaces(planned, num_frames, start, self._video.every, left_alone)

    def _seen(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        for frame in self._film.frames(start, stop):
            yield self._view.seen(frame.rgb())

    def _look(self, faces: FilmFaces) -> bool:
        """Look at some frames of each track: how sharp it is, and who; ``False``: the work was stopped."""
        gate = self._pipeline.identity
        asks_sharpness = self._options.skip_sharp
        looked: dict[int, list[tuple[PlannedTrack, bool]]] = {}
        for planned in faces.planned:
            asks_identity = set(planned.gate_frames()) if gate is not None and planned.weight > 0 else set()
            for index in planned.sample_frames() if asks_sharpness else sorted(asks_identity):
                looked.setdefault(index, []).append((planned, index in asks_identity))
        if not looked:
            return True
        found: dict[int, list[tuple[float, float | None]]] = {}
        total = max(looked) + 1
        for index, frame in enumerate(self._film.frames(faces.first, faces.first + total)):
            self._progress(FilmProgress("looks", index + 1, total))
            if self._stops():
                return False
            if index not in looked:
                continue
            rgb = frame.rgb()
            for planned, is_asked in looked[index]:
                allowed = self._looked_at(index, rgb, planned, gate if is_asked else None)
                if allowed is not None:
                    found.setdefault(planned.track.number, []).append(allowed)
        for planned in faces.planned:
            known = [one for one in found.get(planned.track.number, ()) if one[1] is not None]
            if known:
                planned.weight *= float(np.median([allowed for allowed, _ in known]))
                planned.identity_distance = float(np.median([distance for _, distance in known]))
        return True

    def _looked_at(
        self, index: int, rgb: np.ndarray, planned: PlannedTrack, gate: IdentityGate | None
    ) -> tuple[float, float | None] | None:
        """Note the sharpness of a track in a frame; gives what the identity gate says, if it is asked."""
        face = planned.track.face_at(index)
        if face is None:
            return None
        work = FaceWork(face, planned.track.number, 1.0, planned.fidelity)
        aligned = self._frames.aligned(index, work, self._view.seen(rgb))
        sharp = sharpness(aligned.crop) if self._options.skip_sharp else None
        if sharp is not None:
            planned.looks.append((index, sharp))
        if gate is None or sharp == 1:
            return None
        (work.output,) = self._pipeline.restore_crops([aligned.crop], [work.fidelity], self._options)
        return gate.strength(aligned.crop, self._frames.finished(index, work, aligned)[1])

    def _restored(self, faces: FilmFaces, size: tuple[int, int] | None) -> Iterator[Frame]:
        """All frames with their faces; those that are written already as they are."""
        frames = self._film.frames(faces.first, faces.first + faces.num_frames)
        num_written = self._writer.num_written
        yield from itertools.islice(frames, num_written)
        keys, keep = None, None
        if self._video.every > 1 or self._video.steadiness > 0:
            keys, keep = self._kept.load(num_written), self._kept.keep
        with contextlib.ExitStack() as stack:
            works = prefetch(self._works(frames, faces, num_written))
            stack.enter_context(contextlib.closing(works))
            works = prefetch(self._frames.run(works))
            stack.enter_context(contextlib.closing(works))
            works = prefetch(self._frames.settle(works, keys, keep))
            stack.enter_context(contextlib.closing(works))
            for work in works:
                yield self._composed(work, size)

    def _works(self, frames: Iterator[Frame], faces: FilmFaces, start: int) -> Iterator[FrameWork[Frame]]:
        """The frames from ``start`` on, prepared."""
        for index, (frame, found) in enumerate(zip(frames, faces.works(start), strict=False), start):
            work = FrameWork(index, frame, found, self._num_pixels)
            if found:
                rgb = frame.rgb()
                self._frames.prepare(work, rgb)
                work.rgb = rgb if self._keeps_rgb else None
            yield work

    def _composed(self, work: FrameWork[Frame], size: tuple[int, int] | None) -> Frame:
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


def _comment(options: RestoreOptions) -> str:
    """What a film's comment says of the restoration, in the words of pictures' notes."""
    settings = {
        "strength": options.weight,
        "fidelity": options.fidelity,
        "upscale": f"{options.upscale:g}",
        "color lock": "on" if options.color_lock else "off",
        "grain": f"{options.grain:g}",
    }
    text = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return f"Faces restored by memgan {__version__}, a trained network (compositeWithTrainedAlgorithmicMedia). {text}"


def _network_digest(network: torch.nn.Module) -> str:
    """Of all tensors of a network."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _name_of(part: Any) -> str | None:
    """What is known of a part that may be anybody's."""
    kind = part if callable(part) and hasattr(part, "__qualname__") else type(part)
    return None if part is None else f"{kind.__module__}.{kind.__qualname__}"
