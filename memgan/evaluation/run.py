"""How well restorers undo Eq. 14: degrade clean faces with fixed seeds, restore them, compare with the truth."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

import torch
from torch import Tensor

from memgan.degradation import Codec, Degradation, degrade_seeded
from memgan.errors import ConfigError
from memgan.evaluation.accumulator import FacePictures, Restorers, Tally, named_restorers, run_restorer
from memgan.evaluation.metrics.registry import MetricSet, choose_metrics
from memgan.evaluation.results import INPUT, EvaluationResult
from memgan.image.collection import PictureSource, Sources, read_face, spread_evenly

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


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
    progress: Progress | None = None,
    on_face: Callable[[FacePictures], None] | None = None,
) -> EvaluationResult:
    """Degrade every face, restore it and compare both with the truth.

    A face's degradation depends on its file name and the seed only, and is made on the CPU, so that figures of
    different machines, subsets and batch sizes compare. Restored pictures are rounded to 8 bit, as they are saved.

    Args:
        restore: what is judged: any callable on (B, 3, S, S) in [-1, 1], several by name, or ``None``.
        faces: clean, aligned faces: folders, tar archives, files.
        seeds: base seeds of the degradations; every face is degraded once with each.
        others: good, aligned faces of other people, of which as many as there are faces are taken, spread evenly:
            distances of sets are also taken to these, of the truths too. Their rows end in ``_to_others``.
        limit: at most so many faces, spread evenly over the sorted names; ``None``: all.
        metrics: ``None``: all that work here, see :func:`memgan.evaluation.choose_metrics`.
        size_px: side at which the restorers work.
        batch_size: faces per call of a restorer.
        device: of what restorers and metrics are given.
        settings: ranges of Eq. 14; ``None``: the paper's, for faces of ``size_px`` (see
            :meth:`memgan.degradation.Degradation.at_size`).
        codec: see :func:`memgan.degradation.degrade_seeded`.
        progress: told how far it is.
        on_face: given every face's pictures, seed after seed within a batch.

    Raises:
        ConfigError: if ``limit`` or ``batch_size`` is below 1, or ``seeds`` is empty or holds one twice.
        DataError: if there are no faces, one is unreadable or not square, or a restorer returns NaN.
        ShapeError: if a restorer returns another shape.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {list(seeds)}; give at least one, and none twice.")
    restorers = named_restorers(restore)
    settings = Degradation().at_size(size_px) if settings is None else settings
    source = PictureSource(faces)
    order = spread_evenly(source, limit)
    good = None if others is None else PictureSource(others)
    good_order = [] if good is None else spread_evenly(good, len(order))
    metrics = choose_metrics(device=device, size_px=size_px) if metrics is None else metrics
    tally = Tally(metrics, list(restorers))
    done, total = 0, len(order) * len(seeds) + len(good_order)
    for start, names, clean in read_batches(source, order, size_px, batch_size):
        truth = clean.to(device)
        tally.add_target(truth)
        for seed in seeds:
            drawn = [face_seed(name, seed) for name in names]
            degraded = degrade_seeded(clean, drawn, settings=settings, codec=codec).to(device)
            pictures = {INPUT: degraded}
            pictures |= {name: run_restorer(name, one, degraded) for name, one in restorers.items()}
            tally.add(names, seed, pictures, truth)
            if on_face is not None:
                show(on_face, start, len(order), names, seed, {**pictures, "truth": truth})
            done += len(names)
            if progress is not None:
                progress(done, total)
    if good is not None:
        for _, names, given in read_batches(good, good_order, size_px, batch_size):
            tally.add_others(given.to(device))
            done += len(names)
            if progress is not None:
                progress(done, total)
    return tally.result()


def read_batches(
    source: PictureSource, order: Sequence[int], size_px: int, batch_size: int
) -> Iterator[tuple[int, list[str], Tensor]]:
    """Faces in parts: the place of the first, their names, and (B, 3, S, S) in [-1, 1].

    Raises:
        ConfigError: if ``batch_size`` is below 1.
        DataError: if a face is unreadable or not square.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        names = [source.names[index] for index in indices]
        yield start, names, torch.stack([read_face(source, index, size_px) for index in indices])


def show(
    on_face: Callable[[FacePictures], None],
    start: int,
    total: int,
    names: Sequence[str],
    seed: int,
    pictures: dict[str, Tensor],
) -> None:
    """Hand the faces of a batch to ``on_face``, one by one."""
    for row, name in enumerate(names):
        one = {picture: batch[row] for picture, batch in pictures.items()}
        on_face(FacePictures(start + row, total, name, seed, one))
