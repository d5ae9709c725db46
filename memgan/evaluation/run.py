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

    index: int  # from 0
    total: int  # faces in all
    name: str
    seed: int
    images: Mapping[str, Tensor]
    """(3, S, S) RGB in [-1, 1] by name: ``input``, the restorers, and ``truth`` where there is one."""


OnFace = Callable[[EvaluatedFace], None]


def face_seed(name: str, seed: int = 0) -> int:
    """Seed of one face's degradation: a hash of the base seed and the file's name without folders."""
    digest = hashlib.sha256(f"{seed}:{PurePosixPath(name).name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


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
    ranges = Degradation().at_size(size_px) if settings is None else settings

    def degrade(batch: Tensor, names: Sequence[str], seed: int) -> Tensor:
        return degrade_seeded(batch, [face_seed(name, seed) for name in names], settings=ranges, codec=codec)

    clean = _Faces(faces, limit, size_px, batch_size)
    good = _Faces(others, len(clean), size_px, batch_size)
    metrics = choose_metrics(device=device, size_px=size_px) if metrics is None else metrics
    return _run(restore, clean, good, metrics, device, show_progress, on_face, seeds, degrade)


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
    return _run(restore, given, good, metrics, device, show_progress, on_face)


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


@torch.no_grad()
def _run(
    restore: Restorers,
    faces: _Faces,
    good: _Faces,
    metrics: MetricSet,
    device: str | torch.device,
    show_progress: bool,
    on_face: OnFace | None,
    seeds: Sequence[int] = (0,),
    degrade: Callable[[Tensor, Sequence[str], int], Tensor] | None = None,
) -> EvaluationResult:
    """Restore faces, degraded with every seed or (``degrade`` is ``None``) as they are, and take all metrics."""
    restorers = named_restorers(restore)
    scores = ScoreAccumulator(metrics, list(restorers))
    with ProgressBar(len(faces) * len(seeds) + len(good), unit="faces", hidden=not show_progress) as bar:
        for start, names, batch in faces.batches():
            truth = None if degrade is None else batch.to(device)
            if truth is not None:
                scores.add_target(truth)
            for seed in seeds:
                images = {INPUT: (batch if degrade is None else degrade(batch, names, seed)).to(device)}
                images |= {name: run_restorer(name, one, images[INPUT]) for name, one in restorers.items()}
                scores.add(names, seed, images, truth)
                if truth is not None:
                    images["truth"] = truth
                if on_face is not None:
                    for row, face in enumerate(names):
                        own = {name: pictures[row] for name, pictures in images.items()}
                        on_face(EvaluatedFace(start + row, len(faces), face, seed, own))
                bar.advance(len(names))
        for _, names, batch in good.batches():
            (scores.add_target if degrade is None else scores.add_others)(batch.to(device))
            bar.advance(len(names))
    return scores.result("reference" if degrade is None else "truth")
