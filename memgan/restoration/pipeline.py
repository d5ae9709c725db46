"""Runs pictures through detection, the network and paste-back; faces of several share the network's batches."""

import contextlib
import dataclasses
import functools
import itertools
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from typing import Any, BinaryIO, TypeAlias, TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import nn

from memgan.errors import ConfigError, FaceIndexError, ImageError, MissingDependencyError
from memgan.faces.align import Face, align, align_whole
from memgan.faces.detect import FaceDetector
from memgan.faces.parsing import MaskMaker
from memgan.faces.select import given_faces
from memgan.faces.sharpness import sharpness
from memgan.image import ColorOrder, Picture, open_picture, visible_8bit
from memgan.restoration.background import BackgroundUpsampler, result_size
from memgan.restoration.choice import Choice, choose_faces
from memgan.restoration.composition import FaceWork, PictureWork
from memgan.restoration.dial import FidelityDial
from memgan.restoration.identity_gate import IdentityGate
from memgan.restoration.inference import memory_evidence, restore_crops
from memgan.restoration.options import NO_DIAL, NO_ESTIMATOR, RestoreOptions
from memgan.restoration.postprocess import is_colorless
from memgan.restoration.reliability import ReliabilityEstimator
from memgan.restoration.result import Restoration
from memgan.restoration.self_check import CheckResult, SelfCheck
from memgan.runtime.isolation import own_settings
from memgan.runtime.per_face import PerFace, is_everywhere
from memgan.runtime.prefetch import prefetch
from memgan.runtime.threads import check_fork

Step = TypeVar("Step", bound=Callable[..., Any])
Item = TypeVar("Item")

AnyImage: TypeAlias = (
    np.ndarray
    | torch.Tensor
    | Picture
    | Image.Image
    | str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
)
"""What :func:`memgan.image.open_picture` takes."""
AnyFace: TypeAlias = Face | np.ndarray | Sequence[float] | Sequence[Sequence[float]]
"""See :func:`memgan.faces.given_faces`."""
WorkItem: TypeAlias = AnyImage | tuple[AnyImage, Iterable[AnyFace] | None]
"""A picture, or a picture and its faces; ``None`` for them: they are detected."""

_MAX_WAITING_PIXELS = 2**25  # of pictures that wait for others to fill a batch of faces
_OF_ONE_PICTURE = (ImageError, FaceIndexError, MissingDependencyError, torch.cuda.OutOfMemoryError)
"""Errors that say nothing about other pictures."""


def _isolated(step: Step) -> Step:
    """A step of a pipeline that runs as if the program had set nothing, see :mod:`memgan.runtime.isolation`.

    Each step for itself: between them the caller's own code runs, such as the iterator that gives the pictures.
    """

    @functools.wraps(step)
    def call(self: "Pipeline", *args: Any, **kwargs: Any) -> Any:
        self.check_process()
        with own_settings(self.threads):
            return step(self, *args, **kwargs)

    return cast("Step", call)


@dataclasses.dataclass(eq=False)
class Pipeline:
    """The parts of a restorer, which may be exchanged between calls; keeps nothing, so that threads may share it."""

    network: nn.Module
    """Has ``config.image_size``; (B, 3, S, S) RGB in [-1, 1] to a sequence whose first item is the restored batch."""
    detector: FaceDetector
    home: torch.device
    """Where a network without tensors runs."""
    dtype: torch.dtype = torch.float32
    """What the network is to run in; see :attr:`settled_dtype`."""
    mask: MaskMaker | None = None
    identity: IdentityGate | None = None
    bg_upsampler: BackgroundUpsampler | None = None
    threads: int | None = None
    """Of torch and OpenCV; ``None``: see :func:`memgan.runtime.threads.default_threads`."""
    self_check: SelfCheck | None = None
    """Of ``network``; ``None``: it runs unchecked."""
    dial: FidelityDial | None = None
    """Gives ``network`` at other settings of ``fidelity`` than 0; ``None``: it has no second set of weights."""
    estimator: ReliabilityEstimator | None = None
    """Estimates the errors of ``network``, at all settings of its dial; ``None``: there are no weights for that."""
    made_in: int = dataclasses.field(default_factory=os.getpid)
    """The process."""

    def check_process(self) -> None:
        """Raise ConfigError in a fork that cannot use what the process before it has made."""
        check_fork()
        if os.getpid() != self.made_in and self.device.type != "cpu":
            raise ConfigError(
                f"this restorer was made on {str(self.device)!r} in process {self.made_in}, of which this one is a "
                "fork, and a fork cannot use its parent's GPU: make the restorer in each worker, or send it to workers "
                "that multiprocessing starts by 'spawn'."
            )

    @property
    def size_px(self) -> int:
        """Side of the faces that the network takes."""
        network: Any = self.network
        return int(network.config.image_size)

    @property
    def device(self) -> torch.device:
        """Where the network is now: its callers may move it."""
        tensors = itertools.chain(self.network.parameters(), self.network.buffers())
        return next((tensor.device for tensor in tensors), self.home)

    @property
    def known_dtype(self) -> torch.dtype:
        """What the network runs in, as far as it is known: a self-check that is still to come may say float32."""
        check = self._own_check
        return self.dtype if check is None else check.known(self.device, self.dtype)

    @property
    def settled_dtype(self) -> torch.dtype:
        """What the network runs in; the self-check runs here unless its verdict is known."""
        check = self._own_check
        return self.dtype if check is None else check.settled(self.device, self.dtype)

    @property
    def _own_check(self) -> SelfCheck | None:
        """The self-check, unless the network was exchanged."""
        check = self.self_check
        return check if check is not None and check.network is self.network else None

    def check_options(self, options: RestoreOptions) -> None:
        """Raise ConfigError for settings of ``fidelity`` and ``reliability`` that take weights which are not there."""
        if not is_everywhere(options.fidelity, 0):
            self._check_dial()
        if options.reliability:
            self._check_estimator()

    def _check_dial(self) -> FidelityDial:
        if self.dial is None or self.dial.network is not self.network:
            raise ConfigError(NO_DIAL)
        return self.dial

    def _check_estimator(self) -> ReliabilityEstimator:
        if self.estimator is None or self.estimator.network is not self.network:
            raise ConfigError(NO_ESTIMATOR)
        return self.estimator

    def restore(self, image: AnyImage, options: RestoreOptions, faces: Iterable[AnyFace] | None = None) -> Restoration:
        """Restore one picture; ``faces``: instead of detecting any."""
        task = self._prepare(image, faces, options)
        self._run_network([task], options)
        return task.render(self.mask, self.identity, self.bg_upsampler)

    def run(
        self, items: Iterable[WorkItem], options: RestoreOptions, *, raise_errors: bool = True
    ) -> Generator[Restoration, None, None]:
        """Restore pictures in their order, each opened when its turn comes; their faces wait until they fill a batch.

        Before an exception that a picture causes, the results of the pictures before it are given.
        ``raise_errors=False``: what is wrong with one picture (or too large for the GPU's memory) becomes the ``error``
        of its result, and the next pictures follow.
        """
        self.check_options(options)
        overlaps = self.device.type == "cuda" if options.overlap is None else options.overlap
        overlaps = overlaps and not (isinstance(items, Sized) and len(items) < 2)
        closed = threading.Event()
        attempt = functools.partial(_attempt, raise_errors, options)

        def finish(task: PictureWork | Restoration) -> Any:
            if isinstance(task, Restoration):
                return task
            return attempt(task.render, self.mask, self.identity, self.bg_upsampler)

        tasks = self._tasks(items, options, closed, attempt)
        if overlaps:
            tasks = prefetch(tasks)
        batches = self._batches(tasks, options, attempt)
        if overlaps:
            batches = prefetch(batches)
        with contextlib.closing(tasks), contextlib.closing(batches):
            try:
                for batch in batches:
                    while batch:  # what is taken out is not kept while the next batch is made
                        yield finish(batch.pop(0))
            finally:
                closed.set()  # before the rest is closed, or a thread would first fill the batch that it is at

    @_isolated
    def find(self, rgb: np.ndarray, options: RestoreOptions) -> list[Face]:
        """The faces of a picture (H, W, 3) uint8 RGB that would be restored."""
        choice = choose_faces(self.detector, rgb, options)
        return [choice.found[number] for number in choice.numbers]

    @_isolated
    def check(self, backend: str = "torch", provider: str | None = None, fidelity: float = 0.0) -> CheckResult:
        """Check the network now; ``backend``, ``provider``: of one that has no self-check of its own."""
        if fidelity > 0:
            check = self._check_dial().at(fidelity, self.device).self_check
        else:
            check = self._own_check or SelfCheck(self.network, backend, provider)
        return check.run(self.device, self.dtype)

    @_isolated
    def restore_crops(
        self, crops: Sequence[np.ndarray], fidelities: Sequence[float], options: RestoreOptions
    ) -> list[np.ndarray]:
        """What the network makes of aligned faces, (S, S, 3) uint8 RGB each, at the setting of the dial of each."""
        outputs: dict[int, np.ndarray] = {}
        for fidelity in dict.fromkeys(fidelities):  # each network runs once
            network, dtype = self._network_at(fidelity)
            some = [number for number, own in enumerate(fidelities) if own == fidelity]
            found = restore_crops(
                network,
                [crops[number] for number in some],
                device=self.device,
                max_batch=options.max_batch,
                dtype=dtype,
                self_ensemble=options.self_ensemble,
            )
            outputs.update(zip(some, found, strict=True))
        return [outputs[number] for number in range(len(crops))]

    def _network_at(self, fidelity: float) -> tuple[nn.Module, torch.dtype]:
        """The network at a setting of the dial, and what it runs in."""
        if fidelity == 0:
            return self.network, self.settled_dtype
        network, check = self._check_dial().at(fidelity, self.device)
        # Between the ends the same layers compute on numbers of the same size: nothing new about the device.
        return network, check.settled(self.device, self.dtype) if fidelity == 1 else self.settled_dtype

    @_isolated
    def _prepare(self, image: AnyImage, known: Iterable[AnyFace] | None, options: RestoreOptions) -> PictureWork:
        """Open a picture, find its faces and cut them out."""
        if options.has_aligned and known is not None:
            raise ConfigError("has_aligned=True says that the picture is one face; leave it out, or faces.")
        picture = open_picture(image, options.color)
        color: ColorOrder = "rgb" if isinstance(image, Image.Image) else options.color  # PIL pictures are RGB
        rgb, size_px = visible_8bit(picture), self.size_px
        # Before the work: what cannot be given is refused here.
        is_whole = options.paste_back and not options.has_aligned
        size = result_size(picture, options.upscale) if is_whole else None
        if options.has_aligned:
            whole = align_whole(rgb, size_px)
            choice = Choice([whole], [0], [])
            aligned = [whole]
        else:
            if known is None:
                choice = choose_faces(self.detector, rgb, options)
            else:
                given = given_faces(known, rgb, self.detector)
                choice = Choice(given, list(range(len(given))), [])
            aligned = [align(rgb, choice.found[number], size_px) for number in choice.numbers]
        weights, fidelities = (
            given.of_each_face(name, len(aligned)) if isinstance(given, PerFace) else [given] * len(aligned)
            for name, given in (("weight", options.weight), ("fidelity", options.fidelity))
        )
        return PictureWork(
            options,
            color,
            picture,
            size,
            (1.0, 1.0) if size is None else (size[0] / rgb.shape[1], size[1] / rgb.shape[0]),
            is_colorless(picture),
            picture.problems,
            choice.found,
            choice.excluded,
            [
                FaceWork(
                    face, number, sharpness(face.crop) if options.skip_sharp else None, weight, fidelity, face.crop
                )
                for face, number, weight, fidelity in zip(aligned, choice.numbers, weights, fidelities, strict=True)
            ],
            self.threads,
        )

    @_isolated
    def _run_network(self, tasks: Sequence[PictureWork], options: RestoreOptions) -> None:
        """Restore the faces of pictures together; a sharp face comes out as it was."""
        device, size = self.device, options.max_batch
        degraded = [face for task in tasks for face in task.degraded]
        outputs = self.restore_crops(
            [face.aligned.crop for face in degraded], [face.fidelity for face in degraded], options
        )
        for face, output in zip(degraded, outputs, strict=True):
            face.output = output
        for fidelity in dict.fromkeys(face.fidelity for face in degraded) if options.reliability else ():
            some = [face for face in degraded if face.fidelity == fidelity]
            before, after = [face.aligned.crop for face in some], [face.output for face in some]
            found = self._check_estimator().estimate(before, after, fidelity, device=device, max_batch=size)
            for face, estimate in zip(some, found, strict=True):
                face.reliability = estimate
        if options.evidence:
            faces = [face for task in tasks for face in task.faces]
            crops = [face.aligned.crop for face in faces]
            maps = memory_evidence(self.network, crops, device=device, max_batch=size)
            for face, evidence in zip(faces, maps, strict=True):
                face.evidence = evidence

    def _tasks(
        self, items: Iterable[WorkItem], options: RestoreOptions, closed: threading.Event, attempt: Callable[..., Any]
    ) -> Generator[PictureWork | Restoration, None, None]:
        """Pictures that are prepared, or the results of those that cannot be."""
        for item in items:
            if closed.is_set():
                return
            image, faces = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
            yield attempt(self._prepare, image, faces, options)

    def _batches(
        self, tasks: Iterable[PictureWork | Restoration], options: RestoreOptions, attempt: Callable[..., Any]
    ) -> Generator[list[PictureWork | Restoration], None, None]:
        """Pictures whose faces went through the network together."""
        for batch in grouped(tasks, options.max_batch, _load):
            failed = attempt(self._run_network, [task for task in batch if isinstance(task, PictureWork)], options)
            if failed is not None:  # not even one of their faces is small enough
                batch[:] = [failed if isinstance(task, PictureWork) and task.faces else task for task in batch]
            yield batch


def check_several(images: Any) -> None:
    """A ConfigError for one picture where several are wanted: its letters, bytes or rows are none."""
    one = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, Picture)
    if isinstance(images, one) or (isinstance(images, np.ndarray | torch.Tensor) and images.ndim < 4):
        kind = type(images).__name__
        raise ConfigError(f"images is one picture ({kind}); give several, such as [image], or restore it by itself.")
    if not isinstance(images, Iterable):
        raise ConfigError(f"images is {images!r:.100}; give pictures, such as a list of arrays or paths.")


def _attempt(raise_errors: bool, options: RestoreOptions, step: Callable[..., Any], *args: Any) -> Any:
    """What a step returns, or the result of a picture with its error."""
    try:
        return step(*args)
    except _OF_ONE_PICTURE as error:
        if raise_errors:
            raise
        # Without its traceback, which would keep what is in the functions' frames.
        return Restoration([], None, options.color, error=error.with_traceback(None))


def _load(task: PictureWork | Restoration) -> tuple[int, int]:
    """Faces that the network will see, and pixels that wait; none where a picture has failed."""
    if isinstance(task, PictureWork) and task.picture is not None:
        return len(task.degraded), task.picture.rgb.size // 3
    return 0, 0


def grouped(items: Iterable[Item], max_batch: int, load: Callable[[Item], tuple[int, int]]) -> Iterator[list[Item]]:
    """Items whose faces fill a batch of the network; those without any do not wait.

    Args:
        items: pictures or frames.
        max_batch: faces in a batch.
        load: how many faces and pixels an item brings. No more than about 2**25 pixels wait.
    """
    waiting: list[Item] = []
    num_faces = num_pixels = 0
    try:
        for item in items:
            waiting.append(item)
            faces, pixels = load(item)
            num_faces, num_pixels = num_faces + faces, num_pixels + pixels
            if not 0 < num_faces < max_batch or num_pixels >= _MAX_WAITING_PIXELS:
                yield waiting
                waiting, num_faces, num_pixels = [], 0, 0
    except Exception:  # of an item: those before it are not lost
        if waiting:
            yield waiting
        raise
    if waiting:
        yield waiting
