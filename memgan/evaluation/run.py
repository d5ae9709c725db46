"""Evaluates restorers: on clean faces degraded with fixed seeds, against the truth, or on real degraded faces."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import torch
from torch import Tensor

from memgan.degradation import Codec, Degradation, degrade_seeded
from memgan.errors import ConfigError
from memgan.evaluation.accumulator import ScoreAccumulator
from memgan.evaluation.metrics.registry import MetricSet, choose_metrics
from memgan.evaluation.restorers import Restorers, named_restorers, run_restorer
from memgan.evaluation.results import INPUT, EvaluationResult
from memgan.image.collection import PictureSource, Sources, read_face, spread_evenly
from memgan.runtime.checks import check_int
from memgan.runtime.progress import ProgressBar


@dataclasses.dataclass(frozen=True)
class EvaluatedFace:
    """One face with its restored pictures, for sheets and memory diagnostics."""

    index: int
    total: int
    """Faces in all, of which this is number ``index``, from 0."""
    name: str
    seed: int
    images: Mapping[str, Tensor]
    """(3, S, S) RGB in [-1, 1] by name: ``input``, the restorers, and ``truth`` where there is one."""


OnFace = Callable[[EvaluatedFace], None]


def face_seed(name: str, seed: int = 0) -> int:
    """Seed of one face's degradation: a hash of the base seed and the file's name without folders."""
    digest = hashlib.sha256(f"{seed}:{PurePosixPath(name).name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@torch.no_grad()
def evaluate(
    restore: Restorers,
    faces: Sources,
    *,
    seeds: Sequence[int] = (0,),
    others: Sources | None = None,
    limit: int | None = None,
    metrics: MetricSet | None = None,
    size_px: int = 512,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
    settings: Degradation | None = None,
    codec: Codec = "real",
    show_progress: bool = False,
    on_face: OnFace | None = None,
) -> EvaluationResult:
    """Degrade every face, restore it and compare both with the truth.

    A face's degradation depends on its file name and the seed only, and is made on the CPU, so that figures of
    different machines, subsets and batch sizes compare. Restored pictures are rounded to 8 bit, as they are saved.

    Args:
        restore: any callable on (B, 3, S, S) in [-1, 1], several by name, or ``None``: only the input is evaluated.
        faces: clean, aligned faces: folders, tar archives, files.
        seeds: base seeds of the degradations; every face is degraded once with each.
        others: good, aligned faces of other people, of which as many as there are faces are taken, spread evenly.
            Distances of sets are also taken to these, of the truths too, in rows whose names end in ``_to_others``.
        limit: at most so many faces, spread evenly over the sorted names; ``None``: all.
        metrics: ``None``: all that work here, see :func:`memgan.evaluation.choose_metrics`.
        size_px: side at which the restorers work.
        batch_size: faces per call of a restorer.
        device: of what restorers and metrics are given.
        settings: ranges of Eq. 14; ``None``: the paper's, for faces of ``size_px`` (see
            :meth:`memgan.degradation.Degradation.at_size`).
        codec: see :func:`memgan.degradation.degrade_seeded`.
        show_progress: write a progress bar to standard error.
        on_face: given every face's pictures, seed after seed within a batch.

    Raises:
        ConfigError: if ``limit`` or ``batch_size`` is below 1, or ``seeds`` is empty or holds one twice.
        DataError: if there are no faces, one is unreadable or not square, or a restorer returns NaN.
        ShapeError: if a restorer returns another shape.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {list(seeds)}; give at least one, and none twice.")
    settings = Degradation().at_size(size_px) if settings is None else settings
    clean = _Faces(faces, limit, size_px, batch_size)
    good = _Faces(others, len(clean), size_px, batch_size)
    metrics = choose_metrics(device=device, size_px=size_px) if metrics is None else metrics
    run = _Run(restore, metrics, len(clean), on_face)
    with ProgressBar(len(clean) * len(seeds) + len(good), unit="faces", hidden=not show_progress) as bar:
        for start, names, batch in clean.batches():
            truth = batch.to(device)
            run.scores.add_target(truth)
            for seed in seeds:
                own_seeds = [face_seed(name, seed) for name in names]
                degraded = degrade_seeded(batch, own_seeds, settings=settings, codec=codec).to(device)
                run.add(start, names, seed, degraded, truth)
                bar.advance(len(names))
        for _, names, batch in good.batches():
            run.scores.add_others(batch.to(device))
            bar.advance(len(names))
    return run.scores.result()


@torch.no_grad()
def evaluate_real(
    restore: Restorers,
    faces: Sources,
    reference: Sources | None = None,
    *,
    limit: int | None = None,
    metrics: MetricSet | None = None,
    size_px: int = 512,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
    show_progress: bool = False,
    on_face: OnFace | None = None,
) -> EvaluationResult:
    """Restore real degraded faces, which have no truth; metrics that need one are not computed.

    Other arguments and the errors are those of :func:`evaluate`.

    Args:
        faces: degraded, aligned faces: folders, tar archives, files.
        reference: good, aligned faces of any people, all of which are used; ``None``: no distances of sets.

    Returns:
        Scores under the seed 0; ``target`` is the reference.
    """
    given = _Faces(faces, limit, size_px, batch_size)
    good = _Faces(reference, None, size_px, batch_size)
    metrics = choose_metrics(device=device, size_px=size_px, with_truth=False) if metrics is None else metrics
    run = _Run(restore, metrics, len(given), on_face)
    with ProgressBar(len(given) + len(good), unit="faces", hidden=not show_progress) as bar:
        for start, names, batch in given.batches():
            run.add(start, names, 0, batch.to(device), None)
            bar.advance(len(names))
        for _, names, batch in good.batches():
            run.scores.add_target(batch.to(device))
            bar.advance(len(names))
    return run.scores.result("reference")


class _Faces:
    """Faces of some sources, read in batches; none of ``None``."""

    def __init__(self, sources: Sources | None, limit: int | None, size_px: int, batch_size: int) -> None:
        check_int("batch_size", batch_size, 1)
        self._source = None if sources is None else PictureSource(sources)
        self._order = [] if self._source is None else spread_evenly(self._source, limit)
        self._size_px, self._batch_size = size_px, batch_size

    def __len__(self) -> int:
        return len(self._order)

    def batches(self) -> Iterator[tuple[int, list[str], Tensor]]:
        """Number of the first face, names, and (B, 3, S, S) in [-1, 1] on the CPU."""
        if self._source is None:
            return
        names = self._source.names
        for start in range(0, len(self), self._batch_size):
            indices = self._order[start : start + self._batch_size]
            batch = torch.stack([read_face(self._source, index, self._size_px) for index in indices])
            yield start, [names[index] for index in indices], batch


class _Run:
    """Restores degraded faces, and hands the results to the accumulator and to ``on_face``."""

    def __init__(self, restore: Restorers, metrics: MetricSet, num_faces: int, on_face: OnFace | None) -> None:
        self._restorers = named_restorers(restore)
        self._num_faces = num_faces
        self._on_face = on_face
        self.scores = ScoreAccumulator(metrics, list(self._restorers))

    def add(self, start: int, names: Sequence[str], seed: int, degraded: Tensor, truth: Tensor | None) -> None:
        images = {INPUT: degraded}
        images |= {name: run_restorer(name, one, degraded) for name, one in self._restorers.items()}
        self.scores.add(names, seed, images, truth)
        if self._on_face is None:
            return
        if truth is not None:
            images["truth"] = truth
        for row, face in enumerate(names):
            own = {name: batch[row] for name, batch in images.items()}
            self._on_face(EvaluatedFace(start + row, self._num_faces, face, seed, own))
