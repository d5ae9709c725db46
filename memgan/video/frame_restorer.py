"""Restores the faces of frame after frame: network runs over several frames, carried detail, paste-back."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from memgan.faces.align import AlignedFace, Face, align
from memgan.faces.harmonize import lock_color
from memgan.image import Picture
from memgan.restoration.options import RestoreOptions
from memgan.restoration.pipeline import Pipeline, grouped
from memgan.restoration.postprocess import is_colorless, postprocess
from memgan.restoration.result import RestoredFace
from memgan.runtime.isolation import own_settings
from memgan.video.carry import KeyFace, carry
from memgan.video.steadier import Steadier
from memgan.video.view import FilmView

Source = TypeVar("Source")

_SEEDS_PER_TRACK = 2**32
_STEPS = {1: (1, 3), 2: (1, 2)}  # of a Steadier, in key faces, where the network sees every so many frames
_STEPS_OTHERWISE = (1,)


@dataclasses.dataclass(eq=False)
class FaceWork:
    """A face of a frame on its way."""

    face: Face
    """In the frame's square pixels."""
    track: int
    weight: float
    """Strength asked for and allowed, 0 to 1."""
    fidelity: float = 0.0
    sharpness: float | None = None
    is_key: bool = True
    """The network sees it; if not, it gets its picture from the key faces around it, of which one is before it."""
    runs: bool = True
    """Its restoration is needed: some of it is seen, or carried to another frame."""
    aligned: AlignedFace | None = None
    output: np.ndarray | None = None
    keys: list[KeyFace] = dataclasses.field(default_factory=list)
    waits: bool = False
    """It is not steady yet, or the key faces that it is made of are not."""


@dataclasses.dataclass(eq=False)
class FrameWork(Generic[Source]):
    """A frame on its way."""

    index: int
    source: Source
    """What the frame is to whoever gives it."""
    faces: list[FaceWork]
    num_pixels: int
    size: tuple[int, int] = (0, 0)
    """Width and height in square pixels, once it is prepared."""
    rgb: np.ndarray | None = None
    """(H, W, 3), what was prepared, where few frames are on their way."""


class FrameRestorer:
    """Takes frames with their faces through alignment, network and paste-back; keeps nothing between runs.

    Args:
        pipeline: its network, mask and dial are used; neither its detector nor its identity gate.
        options: as for pictures; which faces there are, and how strongly they are restored, the frames say.
        view: how the frames are seen.
        max_batch: most faces that run through the network at once.
        every: the network sees every so many frames of a face.
        steadiness: 0 (each frame for itself) to 1, see :class:`memgan.video.steadier.Steadier`.
        threads: for what may be done to several frames at a time; ``None``: as for pictures.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        options: RestoreOptions,
        view: FilmView,
        *,
        max_batch: int = 1,
        every: int = 1,
        steadiness: float = 0.0,
        threads: int | None = None,
    ) -> None:
        self._pipeline, self._view, self._threads = pipeline, view, threads
        self._max_batch, self._every, self._steadiness = max_batch, every, steadiness
        self._steps = _STEPS.get(every, _STEPS_OTHERWISE) if steadiness > 0 else ()
        self._network_options = dataclasses.replace(options, max_batch=max_batch)
        self._options = dataclasses.replace(options, color_lock=False)

    @property
    def delay(self) -> int:
        """Most frames that :meth:`settle` takes after a frame before it gives that."""
        return self._every - 1 + self._every * sum(self._steps)

    def prepare(self, work: FrameWork[Source], rgb: np.ndarray) -> None:
        """Cut the faces out of the frame, (H, W, 3) uint8 or uint16 RGB in the film's pixels."""
        with own_settings(self._threads):
            work.size = self._view.size(rgb.shape[1], rgb.shape[0])
            faces = [face for face in work.faces if face.runs]
            seen = self._view.seen(rgb) if faces else rgb
            for face in faces:
                face.aligned = self.aligned(work.index, face, seen)

    def aligned(self, index: int, face: FaceWork, seen: np.ndarray) -> AlignedFace:
        """A face cut out of a frame, as that is seen."""
        seed = face.track * _SEEDS_PER_TRACK + index  # grain is another one in each frame
        return align(seen, dataclasses.replace(face.face, grain_seed=seed), self._pipeline.size_px)

    def run(self, works: Iterable[FrameWork[Source]]) -> Iterator[FrameWork[Source]]:
        """Frames that are prepared, in their order, once the network has seen their key faces."""
        for batch in grouped(works, self._max_batch, _load):
            faces = [face for work in batch for face in work.faces if face.aligned is not None and face.is_key]
            self.see([(face, face.aligned) for face in faces if face.aligned is not None])
            yield from batch

    def see(self, faces: Sequence[tuple[FaceWork, AlignedFace]]) -> None:
        """Run the network on faces. Their colors are locked here already, so that these become steady too."""
        crops = [aligned.crop for _, aligned in faces]
        outputs = self._pipeline.restore_crops(crops, [face.fidelity for face, _ in faces], self._network_options)
        with own_settings(self._pipeline.threads):
            for (face, aligned), output in zip(faces, outputs, strict=True):
                face.output = lock_color(output, aligned.crop) if self._network_options.color_lock else output

    def settle(
        self,
        works: Iterable[FrameWork[Source]],
        keys: Mapping[int, Sequence[KeyFace]] | None = None,
        keep: Callable[[int, Mapping[int, Sequence[KeyFace]]], object] | None = None,
    ) -> Iterator[FrameWork[Source]]:
        """Frames of :meth:`run`, in their order, once their faces are steady or have the key faces to be made of.

        Args:
            works: the frames.
            keys: what ``keep`` was told for the first one of them, to go on exactly as if those before were given too.
            keep: is told the number of the next frame, and the last key faces of each track, after every frame.
        """
        waiting: deque[FrameWork[Source]] = deque()
        tracks: dict[int, _Track] = {}
        with own_settings(self._pipeline.threads):
            for track, known in (keys or {}).items():
                tracks[track] = self._track()
                for key in known:
                    tracks[track].add_key(key)
        for work in works:
            seen = {face.track for face in work.faces if face.aligned is not None}
            with own_settings(self._pipeline.threads):  # frame after frame, so with all threads
                for track in set(tracks) - seen:
                    tracks.pop(track).finish()
                for face in work.faces:
                    if face.aligned is not None:
                        tracks.setdefault(face.track, self._track()).add(work.index, face, face.aligned)
            waiting.append(work)
            if keep is not None:
                keep(work.index + 1, {number: track.last_keys for number, track in tracks.items()})
            while waiting and not any(face.waits for face in waiting[0].faces):
                yield waiting.popleft()
        with own_settings(self._pipeline.threads):
            for known_track in tracks.values():
                known_track.finish()
        yield from waiting

    def _track(self) -> "_Track":
        return _Track(Steadier(self._steadiness, self._steps))

    def compose(
        self, work: FrameWork[Source], rgb: np.ndarray, canvas: np.ndarray
    ) -> tuple[np.ndarray, list[RestoredFace]]:
        """Paste the faces.

        Args:
            work: of :meth:`settle`.
            rgb: the frame.
            canvas: (H, W, 3) of its type: the frame, enlarged or not; changed.

        Returns:
            changed: (H, W) bool, where.
            faces: what was pasted.
        """
        with own_settings(self._threads):
            colorless = bool(work.faces) and is_colorless(Picture(rgb))
            done = [
                self.finished(work.index, face, face.aligned, colorless)
                for face in work.faces
                if face.aligned is not None
            ]
            changed = self._view.paste(canvas, done, work.size, self._options.grain)
        return changed, [face for face, _ in done]

    def finished(
        self, index: int, face: FaceWork, aligned: AlignedFace, colorless: bool = False
    ) -> tuple[RestoredFace, np.ndarray]:
        """A face at the strength that counts, and at full strength."""
        output = carry(aligned.crop, index, face.keys) if face.output is None else face.output
        return postprocess(
            aligned,
            output,
            self._options,
            colorless,
            self._pipeline.mask,
            sharpness=face.sharpness,
            weight=face.weight,
            fidelity=face.fidelity,
        )


class _Track:
    """The faces of a track from key face to key face."""

    def __init__(self, steadier: Steadier) -> None:
        self._steadier = steadier
        self._waiting: deque[tuple[int, FaceWork]] = deque()
        self._steady: KeyFace | None = None  # the last one
        self.last_keys: deque[KeyFace] = deque(maxlen=steadier.reach + 1)
        """As the network made them: the last one that faces after it may be made of, and what makes it steady."""

    def add(self, index: int, face: FaceWork, aligned: AlignedFace) -> None:
        """Take the face of the next frame."""
        if face.output is None and not self.last_keys:
            return  # nothing to be made of: callers begin with a key face
        face.waits = True
        self._waiting.append((index, face))
        if face.output is not None:
            self.add_key(KeyFace(index, aligned.crop, face.output))

    def add_key(self, key: KeyFace) -> None:
        """Take the next key face."""
        self.last_keys.append(key)
        self._settle(self._steadier.add(key))

    def finish(self) -> None:
        """The track has ended: settle all of its faces."""
        self._settle(self._steadier.finish())
        while self._waiting:  # after the last key face
            self._give(self._waiting.popleft()[1], None)

    def _settle(self, keys: Iterable[KeyFace]) -> None:
        for key in keys:
            while self._waiting and self._waiting[0][0] < key.frame:
                self._give(self._waiting.popleft()[1], key)
            if self._waiting and self._waiting[0][0] == key.frame:
                face = self._waiting.popleft()[1]
                face.output, face.waits = key.output, False
            self._steady = key

    def _give(self, face: FaceWork, after: KeyFace | None) -> None:
        """Give a face that is no key face the ones around it."""
        face.keys, face.waits = [key for key in (self._steady, after) if key is not None], False


def _load(work: FrameWork[Source]) -> tuple[int, int]:
    """Faces that the network will see, and pixels that wait."""
    return sum(face.aligned is not None and face.is_key for face in work.faces), work.num_pixels
