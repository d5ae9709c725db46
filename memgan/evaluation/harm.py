"""Measures what restorers do to faces with which nothing is wrong: sharp ones, as they are and as JPEG files."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from memgan.degradation import jpeg_real
from memgan.errors import ConfigError
from memgan.evaluation.metrics.registry import MetricSet, choose_metrics
from memgan.evaluation.results import mean
from memgan.evaluation.run import FaceBatches, Restorers, named_restorers, restored_pictures
from memgan.image.collection import Sources
from memgan.runtime.progress import ProgressBar
from memgan.runtime.tables import text_table

JPEG_QUALITIES = (95, 90, 75)


@dataclasses.dataclass(frozen=True)
class HarmRow:
    """What one restorer did to all faces, given in one way."""

    jpeg_quality: int | None
    """As what the faces were given; ``None``: as they are."""
    restorer: str
    num_faces: int
    num_unchanged: int
    """Faces that came out equal to what went in, in every pixel."""
    scores: dict[str, float]
    """Means by metric, of what came out compared with what went in; ``psnr`` of the mean of the squared errors, because
    that of an unchanged face is infinite."""


@torch.no_grad()
def measure_harm(
    restore: Restorers,
    faces: Sources,
    *,
    limit: int | None = None,
    metrics: MetricSet | None = None,
    size_px: int = 512,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
    show_progress: bool = False,
) -> list[HarmRow]:
    """Give clean faces to restorers, as they are and as JPEG files, and compare what comes out with what went in.

    Other arguments and the errors are those of :func:`memgan.evaluation.evaluate`.

    Args:
        faces: clean, aligned faces: folders, tar archives, files.
        metrics: only those that compare two pictures are computed; ``None``: all of them that work here.

    Returns:
        A row for every restorer: with the faces as they are, then for each of :data:`JPEG_QUALITIES`.

    Raises:
        ConfigError: if there is no restorer, or no metric that compares two pictures.
    """
    restorers = named_restorers(restore)
    metrics = choose_metrics(device=device, size_px=size_px) if metrics is None else metrics
    paired = [metric for metric in metrics.metrics if metric.info.kind == "paired"]
    if not restorers or not paired:
        raise ConfigError("Harm needs a restorer, and a metric that compares two pictures, such as psnr or st_lpips.")
    clean = FaceBatches(faces, limit, size_px, batch_size)
    rows = []
    with ProgressBar(len(clean) * (1 + len(JPEG_QUALITIES)), unit="faces", hidden=not show_progress) as bar:
        for quality in (None, *JPEG_QUALITIES):
            unchanged = dict.fromkeys(restorers, 0)
            values: dict[str, dict[str, list[float]]] = {name: {one.name: [] for one in paired} for name in restorers}
            for _, names, batch in clean.batches():
                given = (batch if quality is None else _as_jpeg(batch, quality)).to(device)
                for name, one in restorers.items():
                    result = restored_pictures(name, one, given)
                    unchanged[name] += int((result == given).flatten(1).all(1).sum())
                    for metric in paired:
                        values[name][metric.name] += metric.compute(result, given).tolist()
                bar.advance(len(names))
            for name in restorers:
                scores = {one.name: _mean(values[name][one.name], one.info.unit) for one in paired}
                rows.append(HarmRow(quality, name, len(clean), unchanged[name], scores))
    return rows


def harm_table(rows: Sequence[HarmRow]) -> str:
    """One line per row: how the faces were given, the restorer, how many it left as they were, the metrics."""
    names = list(rows[0].scores)
    head = ["faces given", "restorer", "unchanged", *names]
    cells = [
        [
            "as they are" if row.jpeg_quality is None else f"JPEG {row.jpeg_quality}",
            row.restorer,
            f"{row.num_unchanged} of {row.num_faces}",
            *(f"{row.scores[name]:.4f}" for name in names),
        ]
        for row in rows
    ]
    title = "what comes out, compared with what went in (psnr: of the mean of all squared errors)"
    return f"{title}\n{text_table(head, cells, left=2)}"


def _mean(values: list[float], unit: str | None) -> float:
    if unit != "dB":
        return mean(values)
    error = mean(10 ** (-value / 10) for value in values)
    return -10 * math.log10(error) if error else math.inf


def _as_jpeg(batch: Tensor, quality: int) -> Tensor:
    levels = ((batch + 1) * 127.5).round()
    return torch.stack([jpeg_real(one, quality) for one in levels]) / 127.5 - 1
