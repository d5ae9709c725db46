"""Measures how true the estimates of restored faces' errors are: their order, their size, and persons at risk.

Blocks count whose center lies in the oval around the face. The order is judged by Spearman's rank correlation, over all
blocks (pooled) and within each picture (its mean), and compared with what needs no estimator: the detail of the
restored face, since where there is none little can be wrong. The size is judged by tenths of the blocks, from the
lowest expected error to the highest.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.degradation import Degradation, age_seeded, degrade_seeded
from memgan.errors import ConfigError
from memgan.evaluation.metrics.identity import IdentityDistance
from memgan.evaluation.metrics.regions import region_mask
from memgan.evaluation.results import mean
from memgan.evaluation.run import FaceBatches, Restorer, face_seed, restored_pictures
from memgan.image.collection import Half, Sources
from memgan.network.reliability import BLOCK_PX, RISK_DISTANCE, ReliabilityNet, block_error, luma
from memgan.runtime.progress import ProgressBar
from memgan.runtime.tables import text_table

_TENTHS = 10
_AROUND_PX = 9  # of the mean that detail differs from
_DRAWS = 1000  # of the bootstrap
_INTERVAL = (0.025, 0.975)

Describe = Callable[[Tensor], Tensor]
"""(B, 3, S, S) -> (B, D) descriptors of persons, as :meth:`memgan.evaluation.IdentityDistance.describe`."""


@dataclasses.dataclass(frozen=True)
class JudgedFace:
    """What was expected of a restored face, and how it is."""

    name: str
    expected_error: np.ndarray
    """(N,) float32 of the blocks of the face, in levels of 255."""
    true_error: np.ndarray
    """(N,) float32."""
    detail: np.ndarray
    """(N,) float32: mean difference of the restored face's brightness to its mean around, in each block."""
    expected_distance: float
    true_distance: float
    risk: float


@dataclasses.dataclass(frozen=True)
class Tenth:
    """A tenth of all blocks, those whose expected error is next."""

    expected: float
    true: float


@dataclasses.dataclass(frozen=True)
class ReliabilityFigures:
    """How true estimates are; what cannot be computed of these faces is NaN."""

    num_faces: int
    num_pictures: int
    rank_pooled: float
    """Spearman's correlation of expected and true error."""
    rank_within: float
    detail_pooled: float
    """The same of detail and true error."""
    detail_within: float
    expected_error: float
    """Mean, in levels of 255."""
    true_error: float
    tenths: tuple[Tenth, ...]
    largest_deviation: float
    """Of a tenth's true error from the expected one, as a share of that."""
    distance_correlation: float
    """Pearson's, of expected and true identity distance."""
    expected_distance: float
    true_distance: float
    num_at_risk: int
    """Pictures whose true distance is above :data:`memgan.network.reliability.RISK_DISTANCE`."""
    expected_at_risk: float
    """Sum of the risks."""
    risk_area: float
    """Area under the ROC curve of the risk."""
    risk_area_low: float
    risk_area_high: float
    """The interval that holds it with 95 %, by a bootstrap over faces."""


@torch.no_grad()
def measure_reliability(
    estimator: ReliabilityNet,
    restorers: Mapping[float, Restorer],
    faces: Sources,
    *,
    seeds: Sequence[int] = (0,),
    half: Half = "all",
    limit: int | None = None,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
    settings: Degradation | None = None,
    is_aged: bool = False,
    describe: Describe | None = None,
    show_progress: bool = False,
) -> dict[float, ReliabilityFigures]:
    """Degrade faces, restore them at settings of the fidelity dial, and compare expected and true errors.

    Args:
        estimator: in eval mode, on ``device``.
        restorers: what restores at each setting from 0 to 1.
        faces, seeds, batch_size, device, settings, show_progress: see :func:`memgan.evaluation.evaluate`.
        half: the faces of even or odd numbers in the order of their names, from 0; such as to calibrate with others.
        limit: at most so many of these faces, spread evenly.
        is_aged: turn the faces into old photographs, see :func:`memgan.degradation.age_seeded`.
        describe: ``None``: dlib's.

    Raises:
        ConfigError: if there is no restorer or seed, a setting is outside of its range, or faces are too small.
        MissingDependencyError: if dlib is not installed.
        DataError, ShapeError: as :func:`memgan.evaluation.evaluate`.
    """
    if not restorers or not seeds or not all(0 <= setting <= 1 for setting in restorers):
        raise ConfigError(
            f"settings are {list(restorers)} and seeds {list(seeds)}; give at least one each, settings from 0 to 1."
        )
    size_px = estimator.config.image_size
    if not region_mask("face", size_px // BLOCK_PX, size_px // BLOCK_PX).any():
        raise ConfigError(f"In a face of {size_px} px is no block of {BLOCK_PX} px; take an estimator of larger faces.")
    describe = IdentityDistance().describe if describe is None else describe
    ranges = Degradation().at_size(size_px) if settings is None else settings
    clean = FaceBatches(faces, limit, size_px, batch_size, half)
    judged: dict[float, list[JudgedFace]] = {setting: [] for setting in restorers}
    with ProgressBar(len(clean) * len(seeds), unit="faces", hidden=not show_progress) as bar:
        for _, names, batch in clean.batches():
            for seed in seeds:
                own = [face_seed(name, seed) for name in names]
                if is_aged:
                    truth, degraded = age_seeded(batch, own, degradation=ranges, codec="real")
                else:
                    truth, degraded = batch, degrade_seeded(batch, own, settings=ranges, codec="real")
                truth, degraded = truth.to(device), degraded.to(device)
                person = describe(truth)
                for setting, restore in restorers.items():
                    restored = restored_pictures(f"{setting:g}", restore, degraded)
                    error, far = block_error(restored, truth), (describe(restored) - person).norm(dim=1)
                    judged[setting] += judge(estimator, names, degraded, restored, [setting] * len(names), error, far)
                bar.advance(len(names))
    return {setting: figures_of(faces) for setting, faces in judged.items()}


@torch.no_grad()
def judge(
    estimator: ReliabilityNet,
    names: Sequence[str],
    degraded: Tensor,
    restored: Tensor,
    fidelity: Sequence[float],
    true_error: Tensor,
    true_distance: Tensor,
) -> list[JudgedFace]:
    """Estimates of B faces with the truth; the arguments are the estimator's, and what it is to find."""
    estimate = estimator(degraded, restored, torch.tensor(fidelity, device=degraded.device))
    inside = region_mask("face", *true_error.shape[1:])
    level = luma(restored)
    fine = (level - F.avg_pool2d(level, _AROUND_PX, 1, _AROUND_PX // 2, count_include_pad=False)).abs()
    maps = (estimate.expected_error, true_error, F.avg_pool2d(fine, BLOCK_PX)[:, 0])
    expected, true, detail = (one.cpu()[:, inside].float().numpy() for one in maps)
    persons = zip(estimate.identity_distance.tolist(), true_distance.tolist(), estimate.risk.tolist(), strict=True)
    return [
        JudgedFace(name, expected[row], true[row], detail[row], *person)
        for row, (name, person) in enumerate(zip(names, persons, strict=True))
    ]


def figures_of(faces: Sequence[JudgedFace]) -> ReliabilityFigures:
    """The figures of judged faces, one or more, each perhaps several times."""
    expected, true, detail = (
        np.concatenate([getattr(face, field) for face in faces]) for field in ("expected_error", "true_error", "detail")
    )
    parts = [part for part in np.array_split(np.argsort(expected, kind="stable"), _TENTHS) if len(part)]
    tenths = tuple(Tenth(float(expected[part].mean()), float(true[part].mean())) for part in parts)
    distances = np.array([(face.expected_distance, face.true_distance) for face in faces])
    at_risk = distances[:, 1] > RISK_DISTANCE
    risks = np.array([face.risk for face in faces])
    low, high = area_interval([face.name for face in faces], risks, at_risk)
    return ReliabilityFigures(
        num_faces=len({face.name for face in faces}),
        num_pictures=len(faces),
        rank_pooled=rank_correlation(expected, true),
        rank_within=mean(rank_correlation(face.expected_error, face.true_error) for face in faces),
        detail_pooled=rank_correlation(detail, true),
        detail_within=mean(rank_correlation(face.detail, face.true_error) for face in faces),
        expected_error=float(expected.mean()),
        true_error=float(true.mean()),
        tenths=tenths,
        largest_deviation=max(abs(one.true / one.expected - 1) for one in tenths),
        distance_correlation=correlation(*distances.T),
        expected_distance=float(distances[:, 0].mean()),
        true_distance=float(distances[:, 1].mean()),
        num_at_risk=int(at_risk.sum()),
        expected_at_risk=float(risks.sum()),
        risk_area=roc_area(risks, at_risk),
        risk_area_low=low,
        risk_area_high=high,
    )


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two (N,); NaN if one of them is constant."""
    a, b = (one - one.mean(dtype=np.float64) for one in (a, b))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two (N,); equal numbers share their mean rank."""
    return correlation(_ranks(a), _ranks(b))


def roc_area(score: np.ndarray, is_positive: np.ndarray) -> float:
    """Probability that a positive, of (N,) bool, scores higher than a negative; ties count half, NaN without a pair."""
    positives = int(is_positive.sum())
    pairs = positives * (len(score) - positives)
    above = _ranks(score)[is_positive].sum() - positives * (positives + 1) / 2
    return float(above) / pairs if pairs else math.nan


def area_interval(names: Sequence[str], score: np.ndarray, is_positive: np.ndarray) -> tuple[float, float]:
    """Interval of :func:`roc_area` by a bootstrap over names, since pictures of one face are alike; seeded."""
    _, face = np.unique(np.array(names), return_inverse=True)
    rows = [np.flatnonzero(face == number) for number in range(face.max() + 1)]
    draw = np.random.default_rng(0)
    areas = []
    for _ in range(_DRAWS):
        drawn = np.concatenate([rows[number] for number in draw.integers(0, len(rows), len(rows))])
        areas.append(roc_area(score[drawn], is_positive[drawn]))
    known = [area for area in areas if not math.isnan(area)]
    low, high = np.quantile(known, _INTERVAL) if known else (math.nan, math.nan)
    return float(low), float(high)


def reliability_table(columns: Mapping[str, ReliabilityFigures], title: str = "") -> str:
    """A column of figures under each name, then the tenths; ``title`` stands above the names of the rows."""
    figures = list(columns.values())
    rows = [[label, *(cell(one) for one in figures)] for label, cell in _ROWS.items()]
    for number in range(max(len(one.tenths) for one in figures)):
        cells = [one.tenths[number] if number < len(one.tenths) else None for one in figures]
        texts = ("-" if cell is None else f"{cell.expected:.2f} / {cell.true:.2f}" for cell in cells)
        rows.append([f"tenth {number + 1} of the blocks, expected / true error", *texts])
    return text_table([title, *columns], rows)


_ROWS: dict[str, Callable[[ReliabilityFigures], str]] = {
    "pictures, of faces": lambda one: f"{one.num_pictures}, {one.num_faces}",
    "Spearman, pooled": lambda one: f"{one.rank_pooled:.3f}",
    "Spearman, within a picture": lambda one: f"{one.rank_within:.3f}",
    "detail of the picture alone, pooled": lambda one: f"{one.detail_pooled:.3f}",
    "detail of the picture alone, within": lambda one: f"{one.detail_within:.3f}",
    "expected / true error, levels of 255": lambda one: f"{one.expected_error:.2f} / {one.true_error:.2f}",
    "largest deviation of a tenth": lambda one: f"{one.largest_deviation:.1%}",
    "expected / true identity distance": lambda one: f"{one.expected_distance:.3f} / {one.true_distance:.3f}",
    "their correlation": lambda one: f"{one.distance_correlation:.3f}",
    f"distances above {RISK_DISTANCE:g}, expected / true": lambda one: (
        f"{one.expected_at_risk:.1f} / {one.num_at_risk}"
    ),
    "ROC area of the risk": lambda one: f"{one.risk_area:.3f} ({one.risk_area_low:.3f} to {one.risk_area_high:.3f})",
}


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (count.cumsum() - (count - 1) / 2)[place]
    return ranks
