"""Scores as they come in, batch by batch: kept per face, and as features where a metric compares whole sets."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from memgan.errors import ConfigError, DataError, ShapeError
from memgan.evaluation.metrics.frechet import frechet_distance, small_sample_note
from memgan.evaluation.metrics.kernel import kernel_distance
from memgan.evaluation.metrics.regions import Part, only
from memgan.evaluation.metrics.registry import TO_OTHERS, MetricSet, metric_info, part_of
from memgan.evaluation.results import INPUT, EvaluationResult, FaceScores, mean

Restorer = Callable[[Tensor], Tensor]
"""(B, 3, S, S) degraded faces in [-1, 1] -> restored ones, same shape and range; of a tuple the first item counts."""
Restorers = Restorer | Mapping[str, Restorer] | None
"""One restorer, several by name, or none: then the inputs alone are judged."""


class FacePictures(NamedTuple):
    """One face as it was judged, for sheets and for looking into the network."""

    index: int
    """Number of the face, from 0."""
    total: int
    """Faces in all."""
    name: str
    seed: int
    pictures: dict[str, Tensor]
    """(3, S, S) RGB in [-1, 1] by name: ``input``, the restorers, and ``truth`` where there is one."""


def named_restorers(restore: Restorers) -> dict[str, Restorer]:
    """Restorers by name; a single one is called ``restored``.

    Raises:
        ConfigError: if a name is taken by the input or the target, or one cannot be called.
    """
    if restore is None:
        return {}
    named = dict(restore) if isinstance(restore, Mapping) else {"restored": restore}
    for name, one in named.items():
        if name in (INPUT, "truth", "reference") or not callable(one):
            raise ConfigError(
                f"Restorer {name!r} is {one!r}; it must be callable, and not named input, truth or reference."
            )
    return named


def run_restorer(name: str, restore: Restorer, degraded: Tensor) -> Tensor:
    """A restorer's pictures as they would be saved: clamped, rounded to 8 bit, float32.

    Raises:
        ShapeError: if it returns another shape, or no tensor.
        DataError: if values are not finite.
    """
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


class Tally:
    """Collects scores.

    Args:
        metrics: what to compute.
        restorers: names of what is judged.
    """

    def __init__(self, metrics: MetricSet, restorers: Sequence[str]) -> None:
        self._metrics = metrics
        self._restorers = tuple(restorers)
        self._rows: dict[int, list[FaceScores]] = {}
        self._features: dict[tuple[int, str, str], list[Tensor]] = {}
        self._target_features: dict[str, list[Tensor]] = {name: [] for name in metrics.sets}
        self._other_features: dict[str, list[Tensor]] = {name: [] for name in metrics.sets}
        self._target_values: dict[str, list[float]] = {name: [] for name in metrics.single}
        self._num_target = 0

    def add(self, names: Sequence[str], seed: int, pictures: Mapping[str, Tensor], truth: Tensor | None) -> None:
        """Judge a batch.

        Args:
            names: of the faces.
            seed: base seed of their degradation.
            pictures: (B, 3, S, S) in [-1, 1] by name: ``input`` and the restorers.
            truth: (B, 3, S, S); ``None``: metrics that need it are not computed.
        """
        tables: dict[str, dict[str, list[float]]] = {}
        for picture, batch in pictures.items():
            table = {name: metric(batch).tolist() for name, metric in self._metrics.single.items()}
            if truth is not None:
                table |= {name: metric(batch, truth).tolist() for name, metric in self._metrics.paired.items()}
            tables[picture] = table
            for name, features in self._described(batch, truth).items():
                self._features.setdefault((seed, picture, name), []).append(features)
        for row, face in enumerate(names):
            scores = {
                picture: {name: table[name][row] for name in self._metrics.names if name in table}
                for picture, table in tables.items()
            }
            self._rows.setdefault(seed, []).append(FaceScores(face, seed, scores))

    def add_target(self, batch: Tensor) -> None:
        """Add (B, 3, S, S) truths or reference pictures, each once."""
        self._num_target += len(batch)
        for name, metric in self._metrics.single.items():
            self._target_values[name] += metric(batch).tolist()
        for name, features in self._described(batch).items():
            self._target_features[name].append(features)

    def add_others(self, batch: Tensor) -> None:
        """Add (B, 3, S, S) good faces of other people, to which input, restored and true faces are compared as sets."""
        for name, features in self._described(batch).items():
            self._other_features[name].append(features)

    def _described(self, batch: Tensor, truth: Tensor | None = None) -> dict[str, Tensor]:
        """Features of a batch by metric, with ``truth`` outside of a metric's part; each network looks once at each."""
        known: dict[tuple[int, Part | None], Tensor] = {}
        found: dict[str, Tensor] = {}
        for name, describe in self._metrics.sets.items():
            part = None if truth is None else part_of(name)[1]
            key = id(describe), part
            if key not in known:
                known[key] = describe(batch if part is None else only(part, batch, truth)).cpu()
            found[name] = known[key]
        return found

    def result(self, target_name: str = "truth") -> EvaluationResult:
        """What was found so far."""
        notes: dict[str, None] = {}
        distances: dict[int, dict[str, dict[str, float]]] = {}
        target = {name: mean(known) for name, known in self._target_values.items() if known}
        truths, others = _joined(self._target_features), _joined(self._other_features)
        of_pairs = target_name == "truth"  # truths and restored faces come in the same order; others belong to nobody
        for (seed, picture, name), parts in self._features.items():
            if name not in truths:
                notes[f"{name} needs reference pictures to compare with, and was left out"] = None
                continue
            features = torch.cat(parts)
            found = _distance(name, features, truths[name], notes, pairs=of_pairs)
            if name in others:
                found |= _distance(f"{name}{TO_OTHERS}", features, others[name], notes)
            if found:
                distances.setdefault(seed, {}).setdefault(picture, {}).update(found)
        for name, features in others.items():
            target |= _distance(f"{name}{TO_OTHERS}", truths[name], features, notes)
        return EvaluationResult(
            faces=tuple(row for rows in self._rows.values() for row in rows),
            restorers=self._restorers,
            metrics=tuple(
                label
                for name in self._metrics.names
                for label in ([name, f"{name}{TO_OTHERS}"] if name in others else [name])
            ),
            distances=distances,
            target=target,
            target_name=target_name,
            num_target=self._num_target,
            notes=tuple(notes),
            left_out=dict(self._metrics.left_out),
        )


def _joined(features: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """Features of all batches, by metric; without those that saw none."""
    return {name: torch.cat(parts) for name, parts in features.items() if parts}


def _distance(
    label: str, features: Tensor, target: Tensor, notes: dict[str, None], *, pairs: bool = False
) -> dict[str, float]:
    """Distance of two sets under its row's name, nothing of too few; what a reader has to know goes to ``notes``."""
    fewest = min(len(features), len(target))
    if fewest < 2:
        notes[f"{label} needs at least 2 pictures of each kind, there is 1: give more"] = None
        return {}
    info = metric_info(label)
    if info is not None and info.distance == "kernel":
        return {label: kernel_distance(features, target, pairs=pairs)}
    note = small_sample_note(fewest, features.shape[1])
    if note is not None:
        notes[f"{label}: {note}"] = None
    return {label: frechet_distance(features, target)}
