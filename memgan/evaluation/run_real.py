"""Restorers on real degraded faces, which have no truth: how natural they look, how near they come to good faces."""

from collections.abc import Callable

import torch

from memgan.evaluation.accumulator import FacePictures, Restorers, Tally, named_restorers, run_restorer
from memgan.evaluation.metrics.registry import MetricSet, choose_metrics
from memgan.evaluation.results import INPUT, EvaluationResult
from memgan.evaluation.run import Progress, read_batches, show
from memgan.image.collection import PictureSource, Sources, spread_evenly


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
    progress: Progress | None = None,
    on_face: Callable[[FacePictures], None] | None = None,
) -> EvaluationResult:
    """Restore real faces; metrics that need a truth are not computed.

    Args:
        restore: as for :func:`memgan.evaluation.evaluate`.
        faces: degraded, aligned faces: folders, tar archives, files.
        reference: good, aligned faces of whatever people; ``None``: no Frechet distance.
        limit: at most so many faces, spread evenly over the sorted names (the reference is used whole).
        metrics, size_px, batch_size, device, progress, on_face: as for :func:`memgan.evaluation.evaluate`.

    Returns:
        Scores under the seed 0; ``target`` is the reference.

    Raises:
        ConfigError: if ``limit`` or ``batch_size`` is below 1.
        DataError: if there are no faces, one is unreadable or not square, or a restorer returns NaN.
        ShapeError: if a restorer returns another shape.
    """
    restorers = named_restorers(restore)
    source = PictureSource(faces)
    order = spread_evenly(source, limit)
    good = None if reference is None else PictureSource(reference)
    metrics = choose_metrics(device=device, size_px=size_px, with_truth=False) if metrics is None else metrics
    tally = Tally(metrics, list(restorers))
    total = len(order) + (0 if good is None else len(good))
    done = 0
    for start, names, read in read_batches(source, order, size_px, batch_size):
        given = read.to(device)
        pictures = {INPUT: given}
        pictures |= {name: run_restorer(name, one, given) for name, one in restorers.items()}
        tally.add(names, 0, pictures, None)
        if on_face is not None:
            show(on_face, start, len(order), names, 0, pictures)
        done += len(names)
        if progress is not None:
            progress(done, total)
    if good is not None:
        for _, names, read in read_batches(good, range(len(good)), size_px, batch_size):
            tally.add_target(read.to(device))
            done += len(names)
            if progress is not None:
                progress(done, total)
    return tally.result("reference")
