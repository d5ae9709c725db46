"""Makes batches in processes on the CPU, for a GPU that would have to wait for them otherwise."""

import multiprocessing
import signal
from collections.abc import Generator, Iterator, Sequence
from typing import Any, cast

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from memgan.runtime.stop_signals import STOP_SIGNALS
from memgan.training.data.stream import Batch, FaceStream, Made, StreamState, to_float, to_levels

AHEAD = 2
"""Batches that every process makes ahead."""
_TOGETHER = 4
"""Faces that a process makes together, few enough for the core's cache."""


def worker_states(seed: int, workers: int) -> list[StreamState]:
    """The beginnings of the streams of ``workers`` processes, all different."""
    seeds = torch.randint(2**62, (workers,), generator=torch.Generator().manual_seed(seed)).tolist()
    return [StreamState.of_seed(each) for each in seeds]


def worker_batches(
    stream: FaceStream, size: int, device: torch.device, states: Sequence[StreamState]
) -> Generator[Made, None, None]:
    """Batches of ``size`` faces without end, for ``device``, made by processes that take turns.

    Every process has a copy of ``stream``, which is on the CPU, and begins at one of ``states``, the first one's batch
    comes first. On their way the pictures are 8-bit levels: a quarter of the memory to move.
    """
    stream.cut_outs.share_memory()
    loader = DataLoader(
        _Endless(stream, size, states),
        batch_size=None,
        num_workers=len(states),
        prefetch_factor=AHEAD,
        worker_init_fn=_begin_process,
        pin_memory=device.type == "cuda",
        # Forked processes share the memory of drawn faces; where there is no fork, they are sent a copy.
        multiprocessing_context="fork" if "fork" in multiprocessing.get_all_start_methods() else None,
        generator=torch.Generator(),  # or it would take its seeds from the training's source
    )
    for (clean, degraded, latent), state in loader:
        clean, degraded = (to_float(levels.to(device, non_blocking=True)) for levels in (clean, degraded))
        yield Batch(clean, degraded, None if latent is None else latent.to(device)), state


class _Endless(IterableDataset):
    """What one process makes: clean and degraded faces as levels, latent codes; and where it is then."""

    def __init__(self, stream: FaceStream, size: int, states: Sequence[StreamState]) -> None:
        self.stream = stream
        self.size = size
        self.states = states

    def __iter__(self) -> Iterator[Made]:
        self.stream.restore(self.states[cast(Any, get_worker_info()).id])  # only worker processes iterate
        counts = [min(_TOGETHER, self.size - start) for start in range(0, self.size, _TOGETHER)]
        while True:
            parts = (self.stream.batch(count) for count in counts)
            levels = [Batch(to_levels(clean), to_levels(degraded), latent) for clean, degraded, latent in parts]
            yield _joined(levels), self.stream.state


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


def _begin_process(*_: Any) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # A terminal or a service manager sends these to all processes, but the training decides when to stop: it may still
    # want a batch for the step after which it saves.
    for name in STOP_SIGNALS:
        signal.signal(name, signal.SIG_IGN)
