"""Accumulates scores batch by batch: per face, and as features for metrics that compare whole sets."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from memgan.evaluation.metrics.regions import Region, composite
from memgan.evaluation.metrics.registry import Compute, MetricInfo, MetricSet
from memgan.evaluation.metrics.set_distances import frechet_distance, kernel_distance, small_sample_note
from memgan.evaluation.results import TO_OTHERS, EvaluationResult, FaceScores, mean

_TARGET, _OTHERS = "target", "others"
_SetKey = str | tuple[int, str]  # the target, the others, or a seed and the name of a picture
_Notes = defaultdict[str, list[str]]  # caveats, with the names of the metrics that they are about


class ScoreAccumulator:
    """Computes metrics of batches and keeps what the result needs; ``restorers`` are names."""

    def __init__(self, metrics: MetricSet, restorers: Sequence[str]) -> None:
        self._metrics = metrics
        self._restorers = tuple(restorers)
        self._rows: dict[int, list[FaceScores]] = {}
        self._features: dict[str, defaultdict[_SetKey, list[Tensor]]] = {
            metric.name: defaultdict(list) for metric in metrics.metrics if metric.info.kind == "sets"
        }
        self._target_values: defaultdict[str, list[float]] = defaultdict(list)
        self._num_target = 0

    def add(self, names: Sequence[str], seed: int, images: Mapping[str, Tensor], truth: Tensor | None) -> None:
        """Compute the metrics of the faces ``names``, degraded with a base seed.

        All are (B, 3, S, S) in [-1, 1]: ``input`` and the restorers by name, and the truth, which some metrics need.
        """
        faces = [FaceScores(name, seed, {picture: {} for picture in images}) for name in names]
        for picture, batch in images.items():
            for metric in self._metrics.metrics:
                values: list[float] = []
                if metric.info.kind == "single":
                    values = metric.compute(batch).tolist()
                elif metric.info.kind == "paired" and truth is not None:
                    values = metric.compute(batch, truth).tolist()
                for face, value in zip(faces, values, strict=False):
                    face.scores[picture][metric.name] = value
            self._add_features((seed, picture), batch, truth)
        self._rows.setdefault(seed, []).extend(faces)

    def add_target(self, batch: Tensor) -> None:
        """Add (B, 3, S, S) truths or reference pictures, each once."""
        self._num_target += len(batch)
        for metric in self._metrics.metrics:
            if metric.info.kind == "single":
                self._target_values[metric.name] += metric.compute(batch).tolist()
        self._add_features(_TARGET, batch)

    def add_others(self, batch: Tensor) -> None:
        """Add (B, 3, S, S) good faces of other people, which all pictures and the truths are compared with too."""
        self._add_features(_OTHERS, batch)

    def _add_features(self, key: _SetKey, batch: Tensor, truth: Tensor | None = None) -> None:
        """Add features of a batch, with one pass of each network for each region."""
        known: dict[tuple[Compute, Region], Tensor] = {}
        for metric in self._metrics.metrics:
            if metric.info.kind != "sets":
                continue
            region = "whole" if truth is None else metric.info.region
            if (metric.compute, region) not in known:
                shown = batch if truth is None else composite(region, batch, truth)
                known[metric.compute, region] = metric.compute(shown).cpu()
            self._features[metric.name][key].append(known[metric.compute, region])

    def result(self, target_name: str = "truth") -> EvaluationResult:
        """Scores of all faces so far, and distances of the sets to the ``truth`` or the ``reference``."""
        notes: _Notes = defaultdict(list)
        infos: dict[str, MetricInfo] = {}
        distances: dict[int, dict[str, dict[str, float]]] = {}
        target = {name: mean(values) for name, values in self._target_values.items()}
        # Truths and restored faces come in the same order; references belong to no face.
        pairs = target_name == "truth"
        for metric in self._metrics.metrics:
            name, info = metric.name, metric.info
            infos[name] = info
            sets = {key: torch.cat(batches) for key, batches in self._features.get(name, {}).items()}
            truths, others = sets.pop(_TARGET, None), sets.pop(_OTHERS, None)
            if truths is None:
                if sets:
                    notes["left out, because there are no reference pictures to compare with"].append(name)
                continue
            if others is not None:
                made_by = f"{name} to the reference faces instead of the truths"
                infos[name + TO_OTHERS] = dataclasses.replace(info, made_by=made_by, published=None)
                target |= _distance(name + TO_OTHERS, info, truths, others, notes)
            for key, features in sets.items():
                found = _distance(name, info, features, truths, notes, pairs=pairs)
                if others is not None:
                    found |= _distance(name + TO_OTHERS, info, features, others, notes)
                if found and isinstance(key, tuple):
                    distances.setdefault(key[0], {}).setdefault(key[1], {}).update(found)
        return EvaluationResult(
            faces=tuple(row for rows in self._rows.values() for row in rows),
            restorers=self._restorers,
            metrics=infos,
            distances=distances,
            target=target,
            target_name=target_name,
            num_target=self._num_target,
            notes=tuple(f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in notes.items()),
            left_out=dict(self._metrics.left_out),
        )


def _distance(
    label: str, info: MetricInfo, features: Tensor, target: Tensor, notes: _Notes, *, pairs: bool = False
) -> dict[str, float]:
    """Distance of two sets by the name of its row; empty for too small sets. Caveats go to ``notes``."""
    fewest = min(len(features), len(target))
    if fewest < 2:
        notes["needs at least 2 pictures of each kind, there is 1: give more"].append(label)
        return {}
    if info.distance == "kernel":
        return {label: kernel_distance(features, target, pairs=pairs)}
    note = small_sample_note(fewest, features.shape[1])
    if note is not None:
        notes[note].append(label)
    return {label: frechet_distance(features, target)}
