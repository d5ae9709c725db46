"""Endless batches of clean and degraded faces, on the device that trains."""

from typing import Protocol

import torch
from torch import Tensor

from memgan.degradation import Degradation, degrade_seeded
from memgan.training.faces import PriorFaces


class Photographs(Protocol):
    """Clean faces by number; :class:`memgan.training.data.FaceSet` is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor:
        """(3, S, S) uint8 RGB."""


class FaceStream:
    """Draws faces, flips half of them, degrades them by Eq. 14.

    Args:
        photographs: clean faces; may be empty if ``synthetic_share`` is 1.
        device: where batches are made. Off the CPU the photographs are kept there as uint8 (0.8 MB each at 512 px).
        seed: of everything drawn; give every process its own.
        prior_faces: source of drawn faces.
        synthetic_share: share of faces that come from it.
        degradation: ranges of Eq. 14; ``None``: the paper's.
    """

    def __init__(
        self,
        photographs: Photographs,
        device: torch.device,
        seed: int,
        *,
        prior_faces: PriorFaces | None = None,
        synthetic_share: float = 0.0,
        degradation: Degradation | None = None,
    ) -> None:
        self.photographs = photographs
        self.device = device
        self.random = torch.Generator().manual_seed(seed)
        self.prior_faces = prior_faces
        self.synthetic_share = synthetic_share if prior_faces is not None else 0.0
        self.degradation = degradation
        self._order: list[int] = []
        self._resident: Tensor | None = None
        if device.type != "cpu" and len(photographs):
            self._resident = torch.stack([photographs[i] for i in range(len(photographs))]).to(device)

    def _next_index(self) -> int:
        if not self._order:  # every photograph once before any comes again
            self._order = torch.randperm(len(self.photographs), generator=self.random).tolist()
        return self._order.pop()

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """``size`` clean faces and their degraded versions, (B, 3, S, S) float32 in [-1, 1] each."""
        drawn = int((torch.rand(size, generator=self.random) < self.synthetic_share).sum())
        parts = []
        if size - drawn:
            indices = [self._next_index() for _ in range(size - drawn)]
            if self._resident is not None:
                faces = self._resident[torch.tensor(indices, device=self.device)]
            else:
                faces = torch.stack([self.photographs[i] for i in indices]).to(self.device)
            parts.append(faces.float() / 127.5 - 1)
        if drawn:
            # Rounded to 8 bit like the photographs, so that both kinds of target are alike.
            levels = (self.prior_faces.draw(drawn, self.random) + 1) * 127.5
            parts.append(levels.round() / 127.5 - 1)
        clean = torch.cat(parts)
        flip = torch.rand(size, generator=self.random) < 0.5
        clean = torch.where(flip.to(self.device)[:, None, None, None], clean.flip(-1), clean)
        seeds = torch.randint(0, 2**62, (size,), generator=self.random).tolist()
        return clean, degrade_seeded(clean, seeds, settings=self.degradation)
