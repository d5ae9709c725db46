"""Restores the frames of a camera, or of any other source, as they come."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from memgan.errors import FilmError
from memgan.faces.align import align
from memgan.faces.sharpness import sharpness
from memgan.image import Picture, open_picture, to_array, visible_8bit
from memgan.restoration.background import enlarge, result_size
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline
from memgan.runtime.isolation import own_settings
from memgan.runtime.per_face import PerFace, Setting
from memgan.video.choice import StreamChoice
from memgan.video.film_faces import SAMPLE_EVERY
from memgan.video.frame_restorer import FaceWork, FrameRestorer, FrameWork
from memgan.video.options import VideoOptions
from memgan.video.tracker import Tracker
from memgan.video.tracks import FrameFaces, TrackedFace
from memgan.video.view import FilmView

_STEP = 1 / 16  # of strength from one frame to the next: a change of sharpness is not seen as a jump
_REMEMBERED = 256  # tracks that may still be on their way


@dataclasses.dataclass
class _Known:
    """What is known of a track."""

    last: int
    """Number of the last frame."""
    sharpness: float | None = None
    aim: float | None = None
    """The last sharpness that was measured."""
    frames: int = 0
    since_key: int | None = None
    """Frames since the network saw it; ``None``: it did not in the frame before."""


class Stream:
    """Restores frames one after the other; see :meth:`memgan.video.VideoRestorer.stream`."""

    def __init__(self, pipeline: Pipeline, options: RestoreOptions, video: VideoOptions) -> None:
        self._pipeline, self._options, self._every = pipeline, options, video.every
        self._tracker = Tracker(pipeline.detector)
        self._view = FilmView()
        self._frames = FrameRestorer(pipeline, options, self._view, every=video.every, steadiness=video.steadiness)
        self._shape: tuple[int, ...] = ()
        self._tracks: dict[int, _Known] = {}
        self._allowed: dict[int, float] = {}  # by track: what the identity gate allows

    @property
    def delay(self) -> int:
        """Most frames that are taken after a frame before it is given."""
        return self._tracker.delay + self._frames.delay

    def run(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The frames with their faces restored, in order."""
        for work in self._frames.settle(self._frames.run(self._works(frames))):
            yield self._composed(work)

    def _works(self, frames: Iterable[np.ndarray]) -> Iterator[FrameWork[Picture]]:
        waiting: deque[Picture] = deque()
        choice: StreamChoice | None = None
        for number, frame in enumerate(frames):
            with own_settings(self._pipeline.threads):
                picture = open_picture(frame, self._options.color)
                height, width = picture.rgb.shape[:2]
                if choice is None:
                    self._shape = picture.rgb.shape
                    result_size(picture, self._options.upscale)  # what cannot be given is refused here
                    choice = StreamChoice(self._options, width, height)
                if picture.rgb.shape != self._shape:
                    raise FilmError(
                        f"frame {number} has the shape {picture.rgb.shape}, those before {self._shape}; all frames of "
                        "a stream have one size: begin a new stream where it changes."
                    )
                waiting.append(picture)
                settled = self._tracker.feed(visible_8bit(picture))
            for found in settled:
                yield self._work(found, waiting.popleft(), choice)
        if choice is not None:
            with own_settings(self._pipeline.threads):
                settled = self._tracker.finish()
            for found in settled:
                yield self._work(found, waiting.popleft(), choice)

    def _work(self, found: FrameFaces, picture: Picture, choice: StreamChoice) -> FrameWork[Picture]:
        height, width = picture.rgb.shape[:2]
        with own_settings(self._pipeline.threads):
            faces = [self._face_work(face, picture) for face in choice.choose(found).chosen]
        # A track that is not in this frame is not carried on.
        self._tracks = {number: known for number, known in self._tracks.items() if known.last == found.index}
        work = FrameWork(found.index, picture, faces, width * height)
        self._frames.prepare(work, picture.rgb)
        return work

    def _face_work(self, face: TrackedFace, picture: Picture) -> FaceWork:
        known = self._tracks.setdefault(face.track, _Known(face.frame))
        if self._options.skip_sharp and known.frames % SAMPLE_EVERY == 0:
            known.aim = sharpness(align(visible_8bit(picture), face, self._pipeline.size_px).crop)
        if known.aim is not None:
            before = known.aim if known.sharpness is None else known.sharpness
            known.sharpness = before + min(max(known.aim - before, -_STEP), _STEP)
        weight = _number_of(self._options.weight, face.track)
        runs = weight > 0 and known.sharpness != 1
        is_key = known.since_key is None or known.since_key + 1 >= self._every
        known.since_key = None if not runs else 0 if is_key else (known.since_key or 0) + 1
        known.last, known.frames = face.frame, known.frames + 1
        fidelity = _number_of(self._options.fidelity, face.track)
        return FaceWork(face, face.track, weight, fidelity, known.sharpness, is_key=is_key, runs=runs)

    def _composed(self, work: FrameWork[Picture]) -> np.ndarray:
        picture, upsampler = work.source, self._pipeline.bg_upsampler
        with own_settings(self._pipeline.threads):
            size = result_size(picture, self._options.upscale)
            canvas = enlarge(picture, size, self._options.upscale, upsampler)
            for face in work.faces:
                self._ask_gate(work.index, face)
        self._frames.compose(work, picture.rgb, canvas.rgb)
        return to_array(canvas, self._options.color)

    def _ask_gate(self, index: int, face: FaceWork) -> None:
        """Weaken a face as the first restored frame of its track says."""
        gate = self._pipeline.identity
        if gate is None or face.aligned is None:
            return
        if face.track not in self._allowed and face.output is not None:
            full = self._frames.finished(index, face, face.aligned)[1]
            self._allowed[face.track] = gate.strength(face.aligned.crop, full)[0]
            if len(self._allowed) > _REMEMBERED:
                del self._allowed[next(iter(self._allowed))]
        face.weight *= self._allowed.get(face.track, 1.0)


def _number_of(setting: Setting, track: int) -> float:
    if isinstance(setting, PerFace):
        return dict(setting.values).get(track, setting.rest)
    return setting
