"""The way of pictures through detection, network and paste; faces of several pictures share the network's batches."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch import nn

from memgan.faces.align import AlignedFace, align, aligned_whole
from memgan.faces.detect import FaceDetector
from memgan.faces.select import FaceFilter, given_faces
from memgan.faces.types import Face, most_central
from memgan.image import ColorOrder, Picture, open_picture
from memgan.restoration.background import BackgroundUpsampler, enlarge, result_size
from memgan.restoration.evidence import memory_evidence
from memgan.restoration.inference import restore_crops
from memgan.restoration.postprocess import Finish, is_colorless
from memgan.restoration.result import Restoration, RestoredFace
from memgan.runtime.checks import check_number
from memgan.runtime.prefetch import ahead

_MAX_WAITING_PIXELS = 2**25  # of pictures that wait for others to fill a batch of faces


@dataclasses.dataclass(frozen=True)
class Request:
    """What a call asks for; see :meth:`memgan.restoration.restorer.MemGANRestorer.restore`.

    ``overlap``: find faces in the next pictures, and paste those of the previous ones, while the network is at work;
    it takes the memory of two batches more. ``None``: on CUDA devices only; on a CPU all three share the same cores.

    Raises:
        ConfigError: if ``weight`` is not from 0 to 1.
    """

    has_aligned: bool = False
    only_center_face: bool = False
    paste_back: bool = True
    weight: float = 1.0
    faces: tuple[Any, ...] | None = None
    evidence: bool = False
    overlap: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", check_number("weight", self.weight, 0, 1))

    @property
    def wants_picture(self) -> bool:
        """Whether the whole picture comes back."""
        return self.paste_back and not self.has_aligned


@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    """A picture whose faces are found and cut out."""

    picture: Picture
    faces: list[Face]
    aligned: list[AlignedFace]


@dataclasses.dataclass(frozen=True, eq=False)
class _Batch:
    """Pictures, and what the network made of all their faces."""

    tasks: list[_Task]
    restored: list[np.ndarray]
    maps: list[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Pipeline:
    """The parts that a restorer works with; keeps nothing between calls."""

    network: nn.Module
    device: torch.device
    dtype: torch.dtype
    max_batch: int
    self_ensemble: bool
    detector: FaceDetector
    face_filter: FaceFilter
    finish: Finish
    upscale: float
    bg_upsampler: BackgroundUpsampler | None
    color: ColorOrder

    def run(self, pictures: Iterable[Any], request: Request) -> Iterator[Restoration]:
        """Restore pictures in their order; they wait for one another until their faces fill a batch.

        Each is opened when its turn comes, see :func:`memgan.image.open_picture`.

        Before an exception that a picture causes, the results of the pictures before it are given.
        """
        beside: Callable[[Iterator[Any]], Iterator[Any]] = ahead if self._overlaps(pictures, request) else iter
        closed = threading.Event()
        tasks = beside(self._tasks(pictures, request, closed))
        batches = beside(self._restored(batch, request) for batch in self._batches(tasks))
        with contextlib.closing(tasks), contextlib.closing(batches):
            try:
                for batch in batches:
                    yield from self._composed(batch, request)
            finally:
                closed.set()  # before the rest is closed, or a thread would first fill the batch that it is at

    def _overlaps(self, pictures: Iterable[Any], request: Request) -> bool:
        """Whether faces are found in, and pasted into, other pictures while the network is at work."""
        if isinstance(pictures, Sized) and len(pictures) < 2:
            return False
        return self.device.type == "cuda" if request.overlap is None else request.overlap

    def _tasks(self, pictures: Iterable[Any], request: Request, closed: threading.Event) -> Iterator[_Task]:
        for picture in pictures:
            if closed.is_set():
                return
            yield self._prepare(open_picture(picture, self.color), request)

    def _batches(self, tasks: Iterable[_Task]) -> Iterator[list[_Task]]:
        """Pictures that go through the network together."""
        waiting: list[_Task] = []
        num_faces = num_pixels = 0
        try:
            for task in tasks:
                waiting.append(task)
                num_faces += len(task.faces)
                num_pixels += task.picture.width * task.picture.height
                if num_faces >= self.max_batch or num_pixels >= _MAX_WAITING_PIXELS:
                    yield waiting
                    waiting, num_faces, num_pixels = [], 0, 0
        except Exception:  # of a picture: those before it are not lost
            if waiting:
                yield waiting
            raise
        if waiting:
            yield waiting

    def find(self, rgb: np.ndarray, only_center_face: bool) -> list[Face]:
        """The faces of a picture (H, W, 3) uint8 RGB that the filter accepts."""
        faces = [face for face in self.detector.detect(rgb) if self.face_filter.accepts(face)]
        if only_center_face and faces:
            return [most_central(faces, rgb.shape[1], rgb.shape[0])]
        return faces

    def _prepare(self, picture: Picture, request: Request) -> _Task:
        if request.wants_picture:
            result_size(picture, self.upscale)  # refuse what cannot be given before the work, not after
        rgb, size = picture.rgb8, self.network.config.image_size
        if request.has_aligned:
            face, whole = aligned_whole(rgb, size)
            return _Task(picture, [face], [whole])
        if request.faces is None:
            faces = self.find(rgb, request.only_center_face)
        else:
            faces = given_faces(request.faces, rgb, self.detector)
        return _Task(picture, faces, [align(rgb, face, size) for face in faces])

    def _restored(self, tasks: list[_Task], request: Request) -> _Batch:
        crops = [face.crop for task in tasks for face in task.aligned]
        restored = restore_crops(
            self.network,
            crops,
            device=self.device,
            max_batch=self.max_batch,
            dtype=self.dtype,
            self_ensemble=self.self_ensemble,
        )
        maps: list[Any] = [None] * len(crops)
        if request.evidence:
            maps = memory_evidence(self.network, crops, device=self.device, max_batch=self.max_batch)
        return _Batch(tasks, restored, maps)

    def _composed(self, batch: _Batch, request: Request) -> Iterator[Restoration]:
        # Everything is taken out of the batch, so that nothing of it is kept while the next one is made.
        while batch.tasks:
            task = batch.tasks.pop(0)
            count = len(task.faces)
            restored, batch.restored[:count] = batch.restored[:count], []
            maps, batch.maps[:count] = batch.maps[:count], []
            yield self._compose(task, restored, maps, request)

    def _compose(self, task: _Task, restored: list[np.ndarray], maps: list[Any], request: Request) -> Restoration:
        is_gray = is_colorless(task.picture)
        finished = [
            self.finish.face(aligned.crop, output, request.weight, is_gray)
            for aligned, output in zip(task.aligned, restored, strict=True)
        ]
        faces = [
            RestoredFace(
                face.box_xyxy,
                face.landmarks,
                face.score,
                crop=aligned.crop,
                restored=end.blended,
                crop_from_image=aligned.crop_from_image,
                mask=end.mask,
                strength=end.strength,
                identity_distance=end.identity_distance,
                evidence=evidence,
            )
            for face, aligned, end, evidence in zip(task.faces, task.aligned, finished, maps, strict=True)
        ]
        if not request.wants_picture:
            return Restoration(faces, None, self.color)
        canvas = enlarge(task.picture, self.upscale, self.bg_upsampler)
        scales = canvas.width / task.picture.width, canvas.height / task.picture.height
        self.finish.paste_(canvas.rgb, faces, [end.full for end in finished], scales)
        return Restoration(faces, canvas, self.color)
