"""The way of pictures through detection, network and paste; faces of several pictures share the network's batches."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from memgan.background import BackgroundUpsampler, enlarge, result_size
from memgan.evidence import memory_evidence
from memgan.faces.align import AlignedFace, align, aligned_whole
from memgan.faces.detect import FaceDetector
from memgan.faces.select import FaceFilter, given_faces
from memgan.faces.types import Face, most_central
from memgan.finish import Finish, is_colorless
from memgan.image import ColorOrder, Picture
from memgan.inference import restore_crops
from memgan.options import number
from memgan.restoration import Restoration, RestoredFace

_MAX_WAITING_PIXELS = 2**25  # of pictures that wait for others to fill a batch of faces


@dataclasses.dataclass(frozen=True)
class Request:
    """What a call asks for; see :meth:`memgan.restorer.MemGANRestorer.restore`.

    Raises:
        ConfigError: if ``weight`` is not from 0 to 1.
    """

    has_aligned: bool = False
    only_center_face: bool = False
    paste_back: bool = True
    weight: float = 1.0
    faces: tuple[Any, ...] | None = None
    evidence: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", number("weight", self.weight, 0, 1))

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
class Pipeline:
    """The parts that a restorer works with; keeps nothing between calls."""

    network: nn.Module
    device: torch.device
    dtype: torch.dtype
    max_batch: int
    detector: FaceDetector
    face_filter: FaceFilter
    finish: Finish
    upscale: float
    bg_upsampler: BackgroundUpsampler | None
    color: ColorOrder

    def run(self, pictures: Iterable[Picture], request: Request) -> Iterator[Restoration]:
        """Restore pictures in their order; they wait for one another until their faces fill a batch."""
        waiting: list[_Task] = []
        num_faces = num_pixels = 0
        for picture in pictures:
            task = self._prepare(picture, request)
            waiting.append(task)
            num_faces += len(task.faces)
            num_pixels += picture.width * picture.height
            if num_faces >= self.max_batch or num_pixels >= _MAX_WAITING_PIXELS:
                yield from self._complete(waiting, request)
                waiting, num_faces, num_pixels = [], 0, 0
        yield from self._complete(waiting, request)

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

    def _complete(self, tasks: list[_Task], request: Request) -> Iterator[Restoration]:
        crops = [face.crop for task in tasks for face in task.aligned]
        restored = restore_crops(self.network, crops, device=self.device, max_batch=self.max_batch, dtype=self.dtype)
        maps: list[Any] = [None] * len(crops)
        if request.evidence:
            maps = memory_evidence(self.network, crops, device=self.device, max_batch=self.max_batch)
        start = 0
        for task in tasks:
            end = start + len(task.faces)
            yield self._compose(task, restored[start:end], maps[start:end], request)
            start = end

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
