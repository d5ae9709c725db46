"""How well a restorer undoes Eq. 14: degrade clean faces with fixed seeds, restore them, compare with the truth."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from memgan.degradation import Codec, Degradation, degrade_seeded
from memgan.errors import ConfigError, DataError, ShapeError
from memgan.evaluation.metrics import psnr, ssim
from memgan.evaluation.source import PictureSource, Sources
from memgan.evaluation.stlpips import STLPIPS, Trunk
from memgan.image import Picture, resize, save_picture, to_tensor, to_uint8

Metric = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) picture and truth in [-1, 1] -> (B,)."""
Restorer = Callable[[Tensor], Tensor]
"""(B, 3, S, S) degraded faces in [-1, 1] -> restored ones, same shape and range."""


@dataclasses.dataclass(frozen=True)
class FaceScores:
    """Metrics of one face by name: of the degraded input and of what the restorer made of it."""

    name: str
    seed: int
    degraded: dict[str, float]
    restored: dict[str, float]


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Scores of all faces, in the order of their names."""

    faces: tuple[FaceScores, ...]

    @property
    def degraded(self) -> dict[str, float]:
        """Mean of every metric over the degraded inputs."""
        return self._means("degraded")

    @property
    def restored(self) -> dict[str, float]:
        """Mean of every metric over the restored faces."""
        return self._means("restored")

    @property
    def ratio(self) -> dict[str, float]:
        """Mean of the restored faces divided by the mean of the inputs; under 1 is a gain for a distance."""
        degraded, restored = self.degraded, self.restored
        return {name: restored[name] / degraded[name] if degraded[name] else math.nan for name in degraded}

    def to_dict(self) -> dict[str, Any]:
        """Means, ratios and all faces, ready for JSON."""
        return {
            "num_faces": len(self.faces),
            "degraded": self.degraded,
            "restored": self.restored,
            "ratio": self.ratio,
            "faces": [dataclasses.asdict(face) for face in self.faces],
        }

    def table(self) -> str:
        """The means as a text table, one row per metric."""
        lines = [f"{len(self.faces)} faces    {'input':>9} {'restored':>9} {'ratio':>7}"]
        for name, value in self.degraded.items():
            lines.append(f"{name:<12} {value:9.4f} {self.restored[name]:9.4f} {self.ratio[name]:7.3f}")
        return "\n".join(lines)

    def _means(self, which: str) -> dict[str, float]:
        rows = [getattr(face, which) for face in self.faces]
        return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}


def standard_metrics(
    trunk: Trunk | None = "alex", weights: str | Path | None = None, device: str | torch.device = "cpu"
) -> dict[str, Metric]:
    """PSNR and SSIM (higher is better) and, unless ``trunk`` is ``None``, ST-LPIPS (lower is better)."""
    metrics: dict[str, Metric] = {"psnr": psnr, "ssim": ssim}
    if trunk is not None:
        metrics["st_lpips"] = STLPIPS(trunk, weights).to(device)
    return metrics


def face_seed(name: str, seed: int = 0) -> int:
    """Seed of one face's degradation: a hash of the base seed and the file's name without folders."""
    digest = hashlib.sha256(f"{seed}:{PurePosixPath(name).name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@torch.no_grad()
def evaluate(
    restore: Restorer | None,
    faces: Sources,
    *,
    seed: int = 0,
    limit: int | None = None,
    metrics: Mapping[str, Metric] | None = None,
    size_px: int = 512,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
    settings: Degradation | None = None,
    codec: Codec = "real",
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Degrade every face, restore it and compare both with the truth.

    A face's degradation depends on its file name and ``seed`` only, and is made on the CPU, so that figures of
    different machines, subsets and batch sizes compare. Restored pictures are rounded to 8 bit, as they are saved.

    Args:
        restore: what is judged; ``None``: nothing, the inputs' scores stand for both.
        faces: clean, aligned faces: folders, tar archives, files.
        seed: base seed of the degradations.
        limit: at most so many faces, spread evenly over the sorted names; ``None``: all.
        metrics: by name; ``None``: :func:`standard_metrics`.
        size_px: side at which ``restore`` works.
        batch_size: faces per call of ``restore``.
        device: of what ``restore`` and the metrics are given.
        settings: ranges of Eq. 14; ``None``: the paper's.
        codec: see :func:`memgan.degradation.degrade_seeded`.
        progress: called with (faces done, faces in all).

    Raises:
        ConfigError: if ``limit`` or ``batch_size`` is below 1.
        DataError: if there are no faces, or one is unreadable or not square.
        ShapeError: if ``restore`` returns another shape.
    """
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")
    source = PictureSource(faces)
    metrics = standard_metrics(device=device) if metrics is None else metrics
    order = sorted(range(len(source)), key=lambda index: source.names[index])
    if limit is not None and limit < len(order):
        order = [order[step * len(order) // limit] for step in range(limit)]
    scores: list[FaceScores] = []
    for start in range(0, len(order), batch_size):
        names = [source.names[index] for index in order[start : start + batch_size]]
        truth = torch.stack([_face(source, index, size_px) for index in order[start : start + batch_size]])
        seeds = [face_seed(name, seed) for name in names]
        degraded = degrade_seeded(truth, seeds, settings=settings, codec=codec).to(device)
        truth = truth.to(device)
        before = after = {name: metric(degraded, truth).tolist() for name, metric in metrics.items()}
        if restore is not None:
            restored = restore(degraded.clone()).float()
            if restored.shape != degraded.shape:
                raise ShapeError(f"The restorer returned {tuple(restored.shape)} for {tuple(degraded.shape)}.")
            restored = ((restored.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
            after = {name: metric(restored, truth).tolist() for name, metric in metrics.items()}
        for row, name in enumerate(names):
            degraded_scores, restored_scores = ({key: v[row] for key, v in table.items()} for table in (before, after))
            scores.append(FaceScores(name, seeds[row], degraded_scores, restored_scores))
        if progress is not None:
            progress(len(scores), len(order))
    return EvaluationResult(tuple(scores))


def write_contact_sheet(rows: Sequence[Sequence[Tensor]], path: str | Path, *, gap_px: int = 4) -> None:
    """Write pictures side by side, for example rows of (input, restored, truth), with white gaps.

    Args:
        rows: equally long rows of (3, H, W) RGB tensors in [-1, 1], all of one size.
        path: picture to write; the suffix chooses the format.
        gap_px: white pixels between pictures.

    Raises:
        ShapeError: if there are no pictures, or rows or sizes differ.
    """
    shapes = {tuple(picture.shape) for row in rows for picture in row}
    if len(shapes) != 1 or len({len(row) for row in rows}) != 1:
        raise ShapeError(f"Rows of {[len(row) for row in rows]} pictures with shapes {shapes}; they must all be equal.")
    channels, height, width = next(iter(shapes))
    columns = len(rows[0])
    size = (channels, len(rows) * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px)
    sheet = torch.ones(size)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (height + gap_px), j * (width + gap_px)
            sheet[:, top : top + height, left : left + width] = picture.detach().float().cpu()
    save_picture(Picture(to_uint8(sheet)), path)


def _face(source: PictureSource, index: int, size_px: int) -> Tensor:
    rgb = source.read(index)
    if rgb.shape[0] != rgb.shape[1]:
        raise DataError(
            f"{source.names[index]} is {rgb.shape[1]} x {rgb.shape[0]}; faces must be square, aligned to the template."
        )
    return to_tensor(resize(rgb, size_px, size_px))
