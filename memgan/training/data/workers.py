"""Makes batches in processes on the CPU, for a GPU that would have to wait for them otherwise."""

import multiprocessing
from collections.abc import Generator, Iterator
from typing import Any, cast

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from memgan.training.data.stream import Batch, FaceStream, to_float, to_levels

_AHEAD = 2
"""Batches that every process makes ahead."""
_TOGETHER = 4
"""Faces that a process makes together, few enough for the core's cache."""


def worker_batches(
    stream: FaceStream, size: int, workers: int, device: torch.device, seed: int
) -> Generator[Batch, None, None]:
    """Batches of ``size`` faces without end, for ``device``, made by ``workers`` processes that take turns.

    Every process has a copy of ``stream``, which is on the CPU, with draws of its own: they depend on ``seed`` and on
    the number of processes. On their way the pictures are 8-bit levels: a quarter of the memory to move.
    """
    stream.cut_outs.share_memory()
    loader = DataLoader(
        _Endless(stream, size),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        worker_init_fn=_one_thread,
        pin_memory=device.type == "cuda",
        # Forked processes share the memory of drawn faces; where there is no fork, they are sent a copy.
        multiprocessing_context="fork" if "fork" in multiprocessing.get_all_start_methods() else None,
        generator=torch.Generator().manual_seed(seed),
    )
    for clean, degraded, latent in loader:
        clean, degraded = (to_float(levels.to(device, non_blocking=True)) for levels in (clean, degraded))
        yield Batch(clean, degraded, None if latent is None else latent.to(device))


class _Endless(IterableDataset):
    """What one process makes: clean and degraded faces as levels, latent codes."""

    def __init__(self, stream: FaceStream, size: int) -> None:
        self.stream = stream
        self.size = size

    def __iter__(self) -> Iterator[Batch]:
        self.stream.reseed(cast(Any, get_worker_info()).seed)  # only worker processes iterate
        counts = [min(_TOGETHER, self.size - start) for start in range(0, self.size, _TOGETHER)]
        while True:
            parts = (self.stream.batch(count) for count in counts)
            yield _joined([Batch(to_levels(clean), to_levels(degraded), latent) for clean, degraded, latent in parts])


def _joined(batches: list[Batch]) -> Batch:
    """One batch of several: first all photographs, then all drawn faces."""
    latents = [batch.latent for batch in batches if batch.latent is not None]
    photographs = [len(batch.clean) - (0 if batch.latent is None else len(batch.latent)) for batch in batches]

    def in_order(pictures: list[Tensor]) -> Tensor:
        halves = [picture.tensor_split([count]) for picture, count in zip(pictures, photographs, strict=True)]
        return torch.cat([first for first, _ in halves] + [second for _, second in halves])

    return Batch(
        in_order([batch.clean for batch in batches]),
        in_order([batch.degraded for batch in batches]),
        torch.cat(latents) if latents else None,
    )


def _one_thread(*_: Any) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
