"""Plans a film before it is restored: finds and follows its faces, and looks at each track."""

import bisect
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np

from memgan.errors import FilmError
from memgan.faces.align import Face, align
from memgan.faces.sharpness import sharpness
from memgan.restoration.identity_gate import IdentityGate
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline
from memgan.runtime.isolation import own_settings
from memgan.runtime.prefetch import prefetch
from memgan.video.choice import choose_tracks
from memgan.video.film import Film
from memgan.video.film_faces import FilmFaces, PlannedTrack, plan_tracks
from memgan.video.frame_restorer import FaceWork, FrameRestorer
from memgan.video.options import VideoOptions
from memgan.video.tracker import Tracker
from memgan.video.tracks import FrameFaces, Track, collect_tracks
from memgan.video.view import FilmView

_frame_of = operator.itemgetter(0)
_SAME_FACE = 0.25  # of its size: mean distance of landmarks between a find and the track that it belongs to


class FilmPlanner:
    """Plans one film.

    Args:
        film, view, frames: what is planned, how it is seen and restored.
        pipeline, options, video: as for :class:`memgan.video.VideoRestorer`.
        progress: is told the stage, the frames that are done, and those in all if that is known.
        stops: whether to stop.
    """

    def __init__(
        self,
        film: Film,
        view: FilmView,
        frames: FrameRestorer,
        pipeline: Pipeline,
        options: RestoreOptions,
        video: VideoOptions,
        progress: Callable[[str, int, int | None], object],
        stops: Callable[[], bool],
    ) -> None:
        self._film, self._view, self._frames, self._pipeline = film, view, frames, pipeline
        self._options, self._video, self._progress, self._stops = options, video, progress, stops
        self._looks: list[tuple[int, Face, float]] = []

    def plan(self) -> FilmFaces | None:
        """The plan; ``None``: the work was stopped.

        Raises:
            FilmError: if the film has no frame in the range that is asked for.
            FaceIndexError: if an option names a track that is not there.
        """
        faces = self._followed()
        gate = self._pipeline.identity
        if faces is not None and gate is not None and not self._ask(gate, faces):
            return None
        return faces

    def _followed(self) -> FilmFaces | None:
        """Find and follow the faces of all frames."""
        start, stop = self._video.range
        hint = self._film.info.num_frames_hint
        total = None if hint is None else max(min(hint, hint if stop is None else stop) - start, 0)
        num_frames = 0

        def settled() -> Iterator[FrameFaces]:
            nonlocal num_frames
            tracker = Tracker(self._pipeline.detector, on_finds=self._look if self._options.skip_sharp else None)
            with closing(prefetch(self._seen(start, stop))) as frames:
                for seen in frames:
                    with own_settings(self._pipeline.threads):
                        found = tracker.feed(seen)
                    num_frames += 1
                    self._progress("faces", num_frames, total)
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
        for one in planned:
            one.looks = self._looks_at(one.track)
        return FilmFaces(planned, num_frames, start, self._video.every, left_alone)

    def _seen(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        for frame in self._film.frames(start, stop):
            yield self._view.seen(frame.rgb())

    def _look(self, index: int, seen: np.ndarray, faces: Sequence[Face]) -> None:
        """Note how sharp the faces of a frame are that the detector has found; their tracks are known later."""
        for face in faces:
            sharp = sharpness(align(seen, face, self._pipeline.size_px).crop)
            if sharp is not None:
                self._looks.append((index, face, sharp))

    def _looks_at(self, track: Track) -> list[tuple[int, float]]:
        """What was noted of a track."""
        found = []
        start = bisect.bisect_left(self._looks, track.first, key=_frame_of)
        stop = bisect.bisect_right(self._looks, track.last, key=_frame_of)
        for index, face, sharp in self._looks[start:stop]:
            own = track.face_at(index)
            if own is not None:
                distance = np.linalg.norm(own.landmarks - face.landmarks, axis=1).mean()
                if distance < _SAME_FACE * own.size:
                    found.append((index, sharp))
        return found

    def _ask(self, gate: IdentityGate, faces: FilmFaces) -> bool:
        """Ask the identity gate in some frames of each track; ``False``: the work was stopped."""
        asked: dict[int, list[PlannedTrack]] = {}
        for planned in faces.planned:
            for index in planned.gate_frames() if planned.weight > 0 else ():
                asked.setdefault(index, []).append(planned)
        total = max(asked, default=-1) + 1
        answers: dict[int, list[tuple[float, float]]] = {}
        for index, frame in enumerate(self._film.frames(faces.first, faces.first + total) if asked else ()):
            self._progress("looks", index + 1, total)
            if self._stops():
                return False
            seen = self._view.seen(frame.rgb()) if index in asked else np.empty(0)
            for planned in asked.get(index, ()):
                allowed, distance = self._answer(gate, index, seen, planned)
                if distance is not None:
                    answers.setdefault(planned.track.number, []).append((allowed, distance))
        for planned in faces.planned:
            known = answers.get(planned.track.number)
            if known:
                planned.weight *= float(np.median([allowed for allowed, _ in known]))
                planned.identity_distance = float(np.median([distance for _, distance in known]))
        return True

    def _answer(
        self, gate: IdentityGate, index: int, seen: np.ndarray, planned: PlannedTrack
    ) -> tuple[float, float | None]:
        face = planned.track.face_at(index)
        if face is None or planned.sharpness(index) == 1:
            return 1.0, None
        work = FaceWork(face, planned.track.number, 1.0, planned.fidelity)
        with own_settings(self._pipeline.threads):
            aligned = self._frames.aligned(index, work, seen)
        self._frames.see([(work, aligned)])
        with own_settings(self._pipeline.threads):
            return gate.strength(aligned.crop, self._frames.finished(index, work, aligned)[1])
