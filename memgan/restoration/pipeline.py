"""Runs pictures through detection, the network and paste-back; faces of several share the network's batches."""

import contextlib
import dataclasses
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import nn

from memgan.errors import ImageError, MissingDependencyError
from memgan.faces.align import AlignedFace, Face, align, align_whole, most_central
from memgan.faces.detect import FaceDetector
from memgan.faces.parsing import MaskMaker
from memgan.faces.select import given_faces
from memgan.image import Picture, open_picture
from memgan.restoration.background import BackgroundUpsampler, enlarge, result_size
from memgan.restoration.evidence import memory_evidence
from memgan.restoration.identity_gate import IdentityGate
from memgan.restoration.inference import restore_crops
from memgan.restoration.options import RestoreOptions
from memgan.restoration.postprocess import is_colorless, paste_faces_, postprocess
from memgan.restoration.result import Restoration
from memgan.runtime.device import device_of
from memgan.runtime.prefetch import prefetch

AnyImage: TypeAlias = np.ndarray | Picture | Image.Image | str | os.PathLike[str]
"""What :func:`memgan.image.open_picture` takes."""
AnyFace: TypeAlias = Face | np.ndarray | Sequence[float] | Sequence[Sequence[float]]
"""A face, a box (left, top, right, bottom) or five landmarks, see :func:`memgan.faces.given_faces`."""
WorkItem: TypeAlias = AnyImage | tuple[AnyImage, Iterable[AnyFace] | None]
"""A picture, or a picture and its faces; ``None`` for them: they are detected."""

_MAX_WAITING_PIXELS = 2**25  # of pictures that wait for others to fill a batch of faces
_OF_ONE_PICTURE = (ImageError, MissingDependencyError, torch.cuda.OutOfMemoryError)
"""Errors that say nothing about other pictures."""


@dataclasses.dataclass(eq=False)
class _Task:
    """A picture on its way; the lists are filled step by step."""

    picture: Picture
    faces: list[AlignedFace]
    outputs: list[np.ndarray] = dataclasses.field(default_factory=list)
    evidence: Sequence[dict[int, np.ndarray] | None] = ()


@dataclasses.dataclass(eq=False)
class Pipeline:
    """What a restorer is made of; keeps nothing between calls, so that threads may share it.

    Its parts may be exchanged between calls.
    """

    network: nn.Module
    """Has ``config.image_size``; (B, 3, S, S) RGB in [-1, 1] to a sequence whose first item is the restored batch."""
    detector: FaceDetector
    home: torch.device
    """Where a network without tensors runs."""
    dtype: torch.dtype = torch.float32
    mask: MaskMaker | None = None
    identity: IdentityGate | None = None
    bg_upsampler: BackgroundUpsampler | None = None

    @property
    def size_px(self) -> int:
        """Side of the faces that the network takes."""
        network: Any = self.network
        return int(network.config.image_size)

    def restore(self, image: AnyImage, options: RestoreOptions, faces: Iterable[AnyFace] | None = None) -> Restoration:
        """Restore one picture; ``faces``: instead of detecting any."""
        task = self._prepare(image, faces, options)
        self._run_network([task], options)
        return self._compose(task, options)

    def run(
        self, items: Iterable[WorkItem], options: RestoreOptions, *, raise_errors: bool = True
    ) -> Generator[Restoration, None, None]:
        """Restore pictures in their order; they wait for one another until their faces fill a batch.

        Each is opened when its turn comes. Before an exception that a picture causes, the results of the pictures
        before it are given.

        Args:
            items: pictures, or pairs of a picture and its faces; may be endless.
            options: for all of them.
            raise_errors: ``False``: what is wrong with one picture (or too large for the GPU's memory) becomes the
                ``error`` of its result, and the next pictures follow.
        """
        overlaps = self._overlaps(items, options)
        closed = threading.Event()
        tasks = self._tasks(items, options, closed, raise_errors)
        if overlaps:
            tasks = prefetch(tasks)
        batches = self._batches(tasks, options, raise_errors)
        if overlaps:
            batches = prefetch(batches)
        with contextlib.closing(tasks), contextlib.closing(batches):
            try:
                for batch in batches:
                    while batch:  # what is taken out is not kept while the next batch is made
                        yield self._finish(batch.pop(0), options, raise_errors)
            finally:
                closed.set()  # before the rest is closed, or a thread would first fill the batch that it is at

    def find(self, rgb: np.ndarray, options: RestoreOptions) -> list[Face]:
        """The faces of a picture (H, W, 3) uint8 RGB that would be restored."""
        faces = [face for face in self.detector.detect(rgb) if options.accepts(face)]
        if options.face_index is not None:
            faces = [faces[index] for index in options.face_index if index < len(faces)]
        if options.only_center_face and faces:
            faces = [most_central(faces, rgb.shape[1], rgb.shape[0])]
        return faces

    def _prepare(self, image: AnyImage, known: Iterable[AnyFace] | None, options: RestoreOptions) -> _Task:
        """Open a picture, find its faces and cut them out."""
        picture = open_picture(image, options.color)
        if options.wants_picture:
            result_size(picture, options.upscale)  # refuse what cannot be given before the work, not after
        rgb, size = picture.rgb8, self.size_px
        if options.has_aligned:
            return _Task(picture, [align_whole(rgb, size)])
        faces = self.find(rgb, options) if known is None else given_faces(known, rgb, self.detector)
        return _Task(picture, [align(rgb, face, size) for face in faces])

    def _run_network(self, tasks: Sequence[_Task], options: RestoreOptions) -> None:
        """Restore the faces of pictures together."""
        crops = [face.crop for task in tasks for face in task.faces]
        device = device_of(self.network, self.home)
        outputs = restore_crops(
            self.network,
            crops,
            device=device,
            max_batch=options.max_batch,
            dtype=self.dtype,
            self_ensemble=options.self_ensemble,
        )
        maps: Sequence[dict[int, np.ndarray] | None] = [None] * len(crops)
        if options.evidence:
            maps = memory_evidence(self.network, crops, device=device, max_batch=options.max_batch)
        for task in tasks:
            count = len(task.faces)
            task.outputs, outputs = outputs[:count], outputs[count:]
            task.evidence, maps = maps[:count], maps[count:]

    def _compose(self, task: _Task, options: RestoreOptions) -> Restoration:
        """Enlarge the picture and paste its faces."""
        colorless = is_colorless(task.picture)
        done = [
            postprocess(
                face,
                output,
                options,
                is_colorless=colorless,
                mask=self.mask,
                identity=self.identity,
                evidence=evidence,
            )
            for face, output, evidence in zip(task.faces, task.outputs, task.evidence, strict=True)
        ]
        faces = [face for face, _ in done]
        if not options.wants_picture:
            return Restoration(faces, None, options.color)
        canvas = enlarge(task.picture, options.upscale, self.bg_upsampler)
        scales = canvas.width / task.picture.width, canvas.height / task.picture.height
        paste_faces_(canvas.rgb, faces, [full for _, full in done], scales, options.grain)
        return Restoration(faces, canvas, options.color)

    def _overlaps(self, items: Iterable[WorkItem], options: RestoreOptions) -> bool:
        """Whether faces are found in, and pasted into, other pictures while the network is at work."""
        if isinstance(items, Sized) and len(items) < 2:
            return False
        if options.overlap is None:
            return device_of(self.network, self.home).type == "cuda"
        return options.overlap

    def _tasks(
        self, items: Iterable[WorkItem], options: RestoreOptions, closed: threading.Event, raise_errors: bool
    ) -> Generator[_Task | Restoration, None, None]:
        """Pictures that are prepared, or the results of those that cannot be."""
        for item in items:
            if closed.is_set():
                return
            image, faces = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
            try:
                yield self._prepare(image, faces, options)
            except _OF_ONE_PICTURE as error:
                if raise_errors:
                    raise
                yield _failed(error, options)

    def _batches(
        self, tasks: Iterable[_Task | Restoration], options: RestoreOptions, raise_errors: bool
    ) -> Generator[list[_Task | Restoration], None, None]:
        """Pictures whose faces went through the network together."""
        for batch in _grouped(tasks, options.max_batch):
            try:
                self._run_network([task for task in batch if isinstance(task, _Task)], options)
            except _OF_ONE_PICTURE as error:  # not even one of their faces is small enough
                if raise_errors:
                    raise
                failed = _failed(error, options)
                batch[:] = [failed if isinstance(task, _Task) and task.faces else task for task in batch]
            yield batch

    def _finish(self, task: _Task | Restoration, options: RestoreOptions, raise_errors: bool) -> Restoration:
        if isinstance(task, Restoration):
            return task
        try:
            return self._compose(task, options)
        except _OF_ONE_PICTURE as error:
            if raise_errors:
                raise
            return _failed(error, options)


def _failed(error: Exception, options: RestoreOptions) -> Restoration:
    """A result with an error; without its traceback, which would keep what is in the functions' frames."""
    return Restoration([], None, options.color, error.with_traceback(None))


def _grouped(tasks: Iterable[_Task | Restoration], max_batch: int) -> Iterator[list[_Task | Restoration]]:
    """Pictures whose faces fill a batch; those without any wait for nobody."""
    waiting: list[_Task | Restoration] = []
    num_faces = num_pixels = 0
    try:
        for task in tasks:
            waiting.append(task)
            if isinstance(task, _Task):
                num_faces += len(task.faces)
                num_pixels += task.picture.width * task.picture.height
            if not 0 < num_faces < max_batch or num_pixels >= _MAX_WAITING_PIXELS:
                yield waiting
                waiting, num_faces, num_pixels = [], 0, 0
    except Exception:  # of a picture: those before it are not lost
        if waiting:
            yield waiting
        raise
    if waiting:
        yield waiting
