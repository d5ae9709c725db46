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
from memgan.video.carry import KeyFace, carry, steadied
from memgan.video.view import FilmView

Source = TypeVar("Source")

_SEEDS_PER_TRACK = 2**32
_MOST_STEADY = 0.95  # share of what was shown before, at most: some of what is new has to come in


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
    """The next key face of its track is still to come."""


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
        steadiness: 0 (each frame for itself) to 1, see :func:`memgan.video.carry.steadied`.
        threads: for what may be done to several frames at a time; ``None``: as for pictures.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        options: RestoreOptions,
        view: FilmView,
        *,
        max_batch: int = 1,
        steadiness: float = 0.0,
        threads: int | None = None,
    ) -> None:
        self._pipeline, self._view, self._threads = pipeline, view, threads
        self._max_batch, self._steadiness = max_batch, _MOST_STEADY * steadiness
        self._network_options = dataclasses.replace(options, max_batch=max_batch)
        self._options = dataclasses.replace(options, color_lock=False)

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
        keys: Mapping[int, KeyFace] | None = None,
        keep: Callable[[int, Mapping[int, KeyFace]], object] | None = None,
    ) -> Iterator[FrameWork[Source]]:
        """Frames of :meth:`run`, in their order, once their faces are steady or have the key faces to be made of.

        Args:
            works: the frames.
            keys: of the frame before the first one, the last key face of each track, to go on with.
            keep: is told the number of the next frame, and the last key face of each track, after every frame.
        """
        waiting: deque[FrameWork[Source]] = deque()
        last_keys = dict(keys or {})
        carried: dict[int, list[FaceWork]] = {}  # by track: faces that wait for the next key face
        for work in works:
            seen = {face.track for face in work.faces if face.aligned is not None}
            for track in set(last_keys) - seen:  # it has ended
                del last_keys[track]
                for face in carried.pop(track, ()):
                    face.waits = False
            with own_settings(self._pipeline.threads):  # frame after frame, so with all threads
                for face in work.faces:
                    if face.aligned is not None:
                        self._hand_on(work.index, face, face.aligned, last_keys, carried)
            waiting.append(work)
            if keep is not None:
                keep(work.index + 1, last_keys)
            while waiting and not any(face.waits for face in waiting[0].faces):
                yield waiting.popleft()
        yield from waiting

    def _hand_on(
        self,
        index: int,
        face: FaceWork,
        aligned: AlignedFace,
        last_keys: dict[int, KeyFace],
        carried: dict[int, list[FaceWork]],
    ) -> None:
        """Steady a key face and give it to those around it, or give a face that is none its key faces."""
        before = last_keys.get(face.track)
        if face.output is None:
            if before is not None:  # always: callers begin with a key face
                face.keys, face.waits = [before], True
                carried.setdefault(face.track, []).append(face)
            return
        if before is not None and self._steadiness > 0:
            face.output = steadied(face.output, aligned.crop, before, self._steadiness)
        key = KeyFace(index, aligned.crop, face.output)
        last_keys[face.track] = key
        for other in carried.pop(face.track, ()):
            other.keys.append(key)
            other.waits = False

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


def _load(work: FrameWork[Source]) -> tuple[int, int]:
    """Faces that the network will see, and pixels that wait."""
    return sum(face.aligned is not None and face.is_key for face in work.faces), work.num_pixels
