"""Draws endless batches of clean and degraded faces, on the device that trains."""

import itertools
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from memgan.degradation import Degradation, age_seeded, degrade_seeded
from memgan.runtime.prefetch import prefetch
from memgan.runtime.progress import ProgressBar
from memgan.training.config import DataSettings
from memgan.training.data.augmentation import CutOuts, jitter_colors, swap_backgrounds
from memgan.training.data.clean_faces import FaceSet, PriorFaces

_RENEWED = 0.1
"""Share of the drawn faces that are new although the pool is full."""


Photographs = FaceSet | Sequence[Tensor]
"""Clean faces by number, (3, S, S) uint8 RGB, which threads may ask for."""


class Batch(NamedTuple):
    """What one training step sees."""

    clean: Tensor
    """(B, 3, S, S) float32 in [-1, 1]; the faces drawn from the prior come last."""
    degraded: Tensor
    """(B, 3, S, S) float32 in [-1, 1]."""
    latent: Tensor | None = None
    """(N, D) latent codes w of the last N faces, which were drawn from the prior; ``None``: there are none."""


class StreamState(NamedTuple):
    """Where a stream is: a stream of the same faces and settings that is put there makes the same batches."""

    random: Tensor
    """State of the random number generator."""
    order: Tensor
    """The state from which the present order of the photographs was drawn."""
    left: int
    """Photographs that are left of that order."""
    pooled: tuple[tuple[Tensor, Tensor], ...] | None = None
    """The drawn faces and their codes, if they are renewed; ``None``: there are none, or they stay as they are."""

    @classmethod
    def of_seed(cls, seed: int) -> "StreamState":
        """The beginning of a stream."""
        state = torch.Generator().manual_seed(seed).get_state()
        return cls(state, state, 0)


Made = tuple[Batch, StreamState]
"""A batch, and where its stream is after it."""


class FaceStream:
    """Draws faces, flips half of the photographs, degrades all by Eq. 14.

    Args:
        photographs: clean faces; may be empty if all are drawn from ``prior_faces``.
        device: where batches are made.
        seed: of everything drawn; give every process its own.
        data: shares of what is done to the faces; ``None``: photographs by the paper's Eq. 14. Backgrounds, colors and
            age of photographs alone are changed, in this order and before Eq. 14.
        degradation: ranges of Eq. 14; ``None``: the paper's.
        resident: keep all photographs on ``device``, as uint8 (0.8 MB each at 512 px); off: they are decoded for every
            batch.
    """

    def __init__(
        self,
        photographs: Photographs,
        device: torch.device,
        seed: int,
        data: DataSettings | None = None,
        *,
        prior_faces: PriorFaces | None = None,
        degradation: Degradation | None = None,
        resident: bool = False,
    ) -> None:
        self.photographs = photographs
        self.device = device
        self.random = torch.Generator().manual_seed(seed)
        self.prior_faces = prior_faces
        self.data = data or DataSettings()
        self.synthetic = self.data.synthetic if prior_faces is not None else 0.0
        self.degradation = degradation or Degradation()
        # uint8 pictures and latent codes
        self._pooled: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.data.synthetic_pool)
        self.cut_outs = CutOuts(len(photographs) if self.data.background_swap else 0)
        self._order: list[int] = []
        self._order_from = self.random.get_state()
        self._resident: Tensor | None = None
        if resident and len(photographs):
            self._resident = torch.empty(len(photographs), *photographs[0].shape, dtype=torch.uint8, device=device)
            with ThreadPoolExecutor() as threads:  # files are decoded at the same time, none waits for the others
                list(threads.map(self._keep, range(len(photographs))))

    @property
    def state(self) -> StreamState:
        """What decides all batches from here on, besides faces that stay in the pool."""
        pooled = tuple(self._pooled) if self.prior_faces is not None else None
        return StreamState(self.random.get_state(), self._order_from, len(self._order), pooled)

    def restore(self, state: StreamState) -> None:
        """Make from here on the batches that another stream made from that state on."""
        self.random.set_state(state.order)
        self._order.clear()
        self._order_from = state.order
        if state.left:
            self._draw_order()
            del self._order[state.left :]
        self.random.set_state(state.random)
        if state.pooled is not None:
            self.pool = list(state.pooled)

    def begin(self, seed: int) -> None:
        """Be as new, with that seed."""
        self.restore(StreamState.of_seed(seed))
        self.pool = []

    @property
    def pool(self) -> list[tuple[Tensor, Tensor]]:
        """The drawn faces that are used again, (3, S, S) uint8, and their codes (D,); the oldest first."""
        return list(self._pooled)

    @pool.setter
    def pool(self, faces: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._pooled.clear()
        self._pooled.extend((face.to(self.device), latent.to(self.device)) for face, latent in faces)

    def keep_drawn(self) -> None:
        """Fill the pool and never renew it."""
        pool, prior = self.data.synthetic_pool or 0, cast("PriorFaces", self.prior_faces)
        with ProgressBar(pool, unit="faces", title="drawing from the prior") as bar:
            while len(self._pooled) < pool:
                count = min(prior.at_once, pool - len(self._pooled))
                self._pooled.extend(zip(*self._fresh(count), strict=True))
                bar.advance(count)
        self.keep_pool()

    def keep_pool(self) -> None:
        """Never renew the pool: from here on the prior is not needed, as in processes that have no GPU."""
        self.prior_faces = None

    def _next_index(self) -> int:
        if not self._order:  # every photograph once before any comes again
            self._draw_order()
        return self._order.pop()

    def _draw_order(self) -> None:
        self._order_from = self.random.get_state()
        self._order = torch.randperm(len(self.photographs), generator=self.random).tolist()

    def batches(self, size: int, *, overlap: bool = False) -> Generator[Made, None, None]:
        """:meth:`batch` without end; with ``overlap`` a thread makes the next one while one is used."""
        endless = ((self.batch(size), self.state) for _ in itertools.repeat(None))
        if not overlap:
            return endless
        return prefetch(self._on_own_stream(endless) if self.device.type == "cuda" else endless)

    def _on_own_stream(self, batches: Iterator[Made]) -> Iterator[Made]:
        """Made on a CUDA stream of their own: on the training's, whatever waits for a result would wait for a step."""
        training, own = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        own.wait_stream(training)
        while True:
            with torch.cuda.stream(own):
                batch, state = next(batches)
            own.synchronize()
            for tensor in batch:
                if tensor is not None:
                    tensor.record_stream(training)  # or its memory could be used again while a step still reads it
            yield batch, state

    def batch(self, size: int) -> Batch:
        """``size`` clean faces and their degraded versions."""
        count = len(self._some(size, self.synthetic))
        numbers = [self._next_index() for _ in range(size - count)]
        # The prior draws either side as often, and its features have no mirror image: only photographs are flipped.
        flip = torch.rand(size - count, generator=self.random) < 0.5
        pieces, latent = [], None
        if numbers:
            faces = self._photographs(numbers)
            pieces.append(torch.where(flip.to(self.device)[:, None, None, None], faces.flip(-1), faces))
        if count:
            faces, latent = self._drawn(count)
            pieces.append(faces)
        clean = to_float(torch.cat(pieces))
        seeds = torch.randint(0, 2**62, (size,), generator=self.random).tolist()
        # The photographs come first.
        chosen = self._some(size - count, self.data.background_swap)
        images = clean[chosen]
        people = self.cut_outs(images, [numbers[i] for i in chosen], flip[chosen].tolist())
        clean[chosen] = swap_backgrounds(images, people, self._another, self.random)
        chosen = self._some(size - count, self.data.color_jitter)
        clean[chosen] = jitter_colors(clean[chosen], self.random)
        aged = len(self._some(size - count, self.data.aged))
        old = age_seeded(clean[:aged], seeds[:aged], degradation=self.degradation)
        new = clean[aged:], self._degraded(clean[aged:], seeds[aged:])
        return Batch(torch.cat([old[0], new[0]]), torch.cat([old[1], new[1]]), latent)

    def _keep(self, number: int) -> None:
        cast(Tensor, self._resident)[number] = self.photographs[number]

    def _some(self, count: int, share: float) -> list[int]:
        """Which of ``count`` faces: each with a chance of ``share``."""
        return (torch.rand(count, generator=self.random) < share).nonzero()[:, 0].tolist() if share else []

    def _photographs(self, indices: list[int]) -> Tensor:
        """(N, 3, S, S) uint8, on the device that trains."""
        if self._resident is not None:
            return self._resident[torch.tensor(indices, device=self.device)]
        if self.device.type == "cpu":
            return torch.stack([self.photographs[i] for i in indices])
        with ThreadPoolExecutor() as threads:
            return torch.stack(list(threads.map(self.photographs.__getitem__, indices))).to(self.device)

    def _another(self) -> Tensor:
        """Any photograph, (3, S, S) in [-1, 1]."""
        index = int(torch.randint(len(self.photographs), (), generator=self.random))
        return to_float(self._photographs([index])[0])

    def _degraded(self, clean: Tensor, seeds: list[int]) -> Tensor:
        """Eq. 14, of some faces mildly."""
        degraded = torch.empty_like(clean)
        mild = self._some(len(clean), self.data.mild)
        others = [i for i in range(len(clean)) if i not in mild]
        for places, settings in ((mild, self.degradation.mild()), (others, self.degradation)):
            degraded[places] = degrade_seeded(clean[places], [seeds[i] for i in places], settings=settings)
        return degraded

    def _drawn(self, count: int) -> tuple[Tensor, Tensor]:
        """Faces of the prior, (count, 3, S, S) uint8 like the photographs, and their latent codes (count, D)."""
        pool = self.data.synthetic_pool
        if pool is None:
            return self._fresh(count)
        new = 0
        if self.prior_faces is not None:
            new = max(min(count, pool - len(self._pooled)), len(self._some(count, _RENEWED)))
        chosen = list(zip(*self._fresh(new), strict=True)) if new else []
        self._pooled.extend(chosen)
        again = torch.randint(0, len(self._pooled), (count - new,), generator=self.random).tolist()
        faces, latents = zip(*chosen, *(self._pooled[i] for i in again), strict=True)
        return torch.stack(faces), torch.stack(latents)

    def _fresh(self, count: int) -> tuple[Tensor, Tensor]:
        image, latent = cast("PriorFaces", self.prior_faces).draw(count, self.random)  # without it none is drawn
        return to_levels(image).to(self.device), latent.to(self.device)


def to_float(levels: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]."""
    return levels.float() / 127.5 - 1


def to_levels(image: Tensor) -> Tensor:
    """[-1, 1] to the nearest uint8."""
    return ((image + 1) * 127.5).round().to(torch.uint8)


def checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of all values."""
    found = 0
    for tensor in tensors.values():
        found = zlib.crc32(tensor.cpu().contiguous().numpy().data, found)
    return found


def fingerprint(network: nn.Module) -> int:
    """Checksum of all weights: added to the seed, it lets a run that starts from them draw other data than before."""
    return checksum(network.state_dict())
