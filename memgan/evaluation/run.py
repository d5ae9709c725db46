"""Evaluates restorers: on clean faces degraded with fixed seeds, against the truth, or on real degraded faces."""

import dataclasses
import hashlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import torch
from torch import Tensor

from memgan.degradation import Codec, Degradation, degrade_seeded
from memgan.errors import ConfigError, DataError, ShapeError
from memgan.evaluation.accumulator import ScoreAccumulator
from memgan.evaluation.metrics.registry import MetricSet, choose_metrics
from memgan.evaluation.results import INPUT, EvaluationResult
from memgan.image.collection import Half, PictureSource, Sources, read_face, spread_evenly
from memgan.runtime.checks import check_int
from memgan.runtime.progress import ProgressBar

Restorer = Callable[[Tensor], Tensor]
"""(B, 3, S, S) degraded faces in [-1, 1] -> restored ones, same shape and range; of a tuple the first item counts."""
Restorers = Restorer | Mapping[str, Restorer] | None
"""One restorer, several by name, or none: then the inputs alone are evaluated."""


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


def import_restorer(text: str) -> tuple[str, Restorer]:
    """Import a restorer given as ``module:callable`` or ``name=module:callable``.

    The callable takes (B, 3, 512, 512) RGB in [-1, 1] and returns the same, as the networks of GFPGAN and CodeFormer
    do. Modules of the current folder are found. Importing runs the module's code.

    Returns:
        Name for the table (that of the callable if none is given) and callable.

    Raises:
        ConfigError: if it is no such text, or nothing like it can be imported.
    """
    name, _, place = text.rpartition("=")
    module, _, path = place.partition(":")
    if not module or not path:
        raise ConfigError(f"Restorer {text!r}; give module:callable or name=module:callable.")
    here = os.getcwd()
    sys.path.insert(0, here)  # a console script does not search the current folder by itself
    try:
        found = pkgutil.resolve_name(place)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"Restorer {text!r} cannot be imported ({error}); give module:callable of an installed package or of a "
            "file in the current folder."
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise ConfigError(f"Restorer {text!r} is {type(found).__name__}, which cannot be called; name a function.")
    return name or path.rpartition(".")[2], found


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
        batch_size, device: faces per call of a restorer, and where its input lies.
        settings: ranges of Eq. 14; ``None``: the paper's, in proportion to ``size_px``.
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

    clean = FaceBatches(faces, limit, size_px, batch_size)
    good = FaceBatches(others, len(clean), size_px, batch_size)
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
    given = FaceBatches(faces, limit, size_px, batch_size)
    good = FaceBatches(reference, None, size_px, batch_size)
    metrics = choose_metrics(device=device, size_px=size_px, with_truth=False) if metrics is None else metrics
    return _run(restore, given, good, metrics, device, show_progress, on_face)


class FaceBatches:
    """Faces of some sources, read in batches; none of ``None``."""

    def __init__(
        self, sources: Sources | None, limit: int | None, size_px: int, batch_size: int, half: Half = "all"
    ) -> None:
        check_int("batch_size", batch_size, 1)
        self._source = None if sources is None else PictureSource(sources)
        self._order = [] if self._source is None else spread_evenly(self._source, limit, half)
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
    faces: FaceBatches,
    good: FaceBatches,
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
                images |= {name: restored_pictures(name, one, images[INPUT]) for name, one in restorers.items()}
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


def named_restorers(restore: Restorers) -> dict[str, Restorer]:
    """Restorers by name; a single one is called ``restored``. :class:`ConfigError` if one cannot be used."""
    if restore is None:
        return {}
    named = dict(restore) if isinstance(restore, Mapping) else {"restored": restore}
    for name, one in named.items():
        if name in (INPUT, "truth", "reference") or not callable(one):
            raise ConfigError(
                f"Restorer {name!r} is {one!r}; it must be callable, and not named input, truth or reference."
            )
    return named


def restored_pictures(name: str, restore: Restorer, degraded: Tensor) -> Tensor:
    """Restore (B, 3, S, S), and clamp and round the result to 8 bit, as it would be saved; float32."""
    restored = restore(degraded.clone())  # a copy, because it may work in place
    if isinstance(restored, tuple | list):
        restored = restored[0]
    if not isinstance(restored, Tensor) or restored.shape != degraded.shape:
        given = tuple(restored.shape) if isinstance(restored, Tensor) else type(restored).__name__
        raise ShapeError(f"{name} returned {given} for {tuple(degraded.shape)}; it must return as many equal pictures.")
    if not torch.isfinite(restored).all():
        raise DataError(f"{name} returned values that are not finite; its weights are damaged or of another precision.")
    restored = restored.detach().to(degraded.device).float()
    return ((restored.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
