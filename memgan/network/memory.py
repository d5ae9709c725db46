"""Stores degraded spatial identity features in a memory bank that is read softly and updated online (Sec. 3.2)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memgan.errors import ShapeError

EPS = 1e-6
_BLOCK = 16384
"""Positions whose relation to all slots is held at once."""
_MOST_ROWS = 65535
"""Largest batch of CUDA's fused attention: its grid has no more blocks in that direction."""


class MemoryStatistics(NamedTuple):
    """Sums over positions from which a bank updates itself; summed over processes before they are used."""

    slot_sum: Tensor
    """(K, C) float32: sum of the features assigned to each slot (numerator of Eq. 5's mean)."""
    slot_count: Tensor
    """(K,) float32: number of features assigned to each slot."""
    read_square_sum: Tensor
    """(C,) float32: sum of squares of the centered read."""
    num_positions: Tensor
    """() float32: number of positions."""


class MemoryEvidence(NamedTuple):
    """What the memory recognizes at each position."""

    slot: Tensor
    """(B, H, W) int64: index of the most similar slot."""
    cosine: Tensor
    """(B, H, W) float32 in [-1, 1]: similarity to that slot."""


class MemoryBank(nn.Module):
    """K slots of C numbers, soft-addressed by cosine similarity and updated online without gradients.

    Args:
        num_slots: K.
        slot_dim: C, the width of the features.
        temperature: divides the cosines of Eq. 2.
        decay: decay of the moving average of Eq. 5.
        normalize: return the read centered and rescaled, ``(F^M - mean slot) / std``; ``False``: the literal Eq. 3.
        residual: add the query to the read.
    """

    slots: Tensor
    usage: Tensor
    read_std: Tensor
    initialized: Tensor

    def __init__(
        self,
        num_slots: int,
        slot_dim: int,
        *,
        temperature: float = 1.0,
        decay: float = 0.999,
        normalize: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.num_slots, self.slot_dim = num_slots, slot_dim
        self.temperature = temperature
        self.decay = decay
        self.normalize = normalize
        self.residual = residual
        generator = torch.Generator().manual_seed(num_slots * 1_000_003 + slot_dim)  # alike in all processes
        self.register_buffer("slots", torch.randn(num_slots, slot_dim, generator=generator))
        self.register_buffer("usage", torch.zeros(num_slots))
        self.register_buffer("read_std", torch.ones(slot_dim))
        self.register_buffer("initialized", torch.zeros(()))

    def _query(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H*W, C) float32, contiguous along C."""
        if features.ndim != 4 or features.shape[1] != self.slot_dim:
            raise ShapeError(
                f"Features of shape {tuple(features.shape)}; this bank needs (B, {self.slot_dim}, H, W): "
                "build the encoder and the memory from the same configuration."
            )
        # Contiguous: the fused kernel takes nothing else, and the one behind it stores the (H*W, K) matrix.
        return features.permute(0, 2, 3, 1).reshape(features.shape[0], -1, self.slot_dim).float().contiguous()

    def key(self) -> Tensor:
        """(K, C) float32: directions of the slots."""
        return F.normalize(self.slots.float(), dim=-1, eps=EPS)

    def values(self) -> Tensor:
        """(K, C) float32: what the read is a weighted mean of."""
        if not self.normalize:
            return self.slots.float()
        return ((self.slots - self.slots.mean(dim=0)) / self.read_std).float()  # centering commutes with the mean

    def read(self, features: Tensor) -> Tensor:
        """Eq. 1-3: alpha = softmax(cos(F_i, M_k) / temperature), F^M_i = sum_k alpha_k M_k. Changes no state.

        The (H*W, K) matrix of weights is never stored (fused attention); all sums are in float32, also under autocast.

        Args:
            features: (B, C, H, W) encoder features F^E, any float dtype.

        Returns:
            (B, C, H, W) in the dtype of ``features``; centered and rescaled unless ``normalize`` is off.

        Raises:
            ShapeError: if C differs from ``slot_dim``.
        """
        with torch.autocast(features.device.type, enabled=False):
            query = F.normalize(self._query(features), dim=-1, eps=EPS)
            batch, _, height, width = features.shape
            # Rows instead of images: backwards the fused kernels work in parallel over the batch and blocks of keys
            # alone, and of keys there are too few to keep a processor busy.
            rows, length = (batch * height, width) if batch * height <= _MOST_ROWS else (batch, height * width)
            read = F.scaled_dot_product_attention(
                query.reshape(rows, 1, length, self.slot_dim),
                self.key().expand(rows, 1, -1, -1),
                self.values().expand(rows, 1, -1, -1),
                scale=1.0 / self.temperature,
            )
            read = read.reshape(batch, height, width, self.slot_dim).permute(0, 3, 1, 2)
        read = read.to(features.dtype)
        return read + features if self.residual else read

    forward = read

    @torch.no_grad()
    def assign(self, features: Tensor) -> MemoryEvidence:
        """Most similar slot of every position of (B, C, H, W) features (Eq. 4)."""
        with torch.autocast(features.device.type, enabled=False):
            query = F.normalize(self._query(features), dim=-1, eps=EPS).reshape(-1, self.slot_dim)
            key = self.key().t().contiguous()
            # In blocks, so that no (positions, K) matrix of an image is kept.
            best = [(block @ key).max(dim=1) for block in torch.split(query, _BLOCK)]
        batch, _, height, width = features.shape
        cosine = torch.cat([b.values for b in best]).reshape(batch, height, width)
        slot = torch.cat([b.indices for b in best]).reshape(batch, height, width)
        return MemoryEvidence(slot, cosine.clamp(-1, 1))

    @torch.no_grad()
    def statistics(self, features: Tensor) -> MemoryStatistics:
        """Sums needed by :meth:`update_`, over the positions of (B, C, H, W) encoder features of this process."""
        slot = self.assign(features).slot.reshape(-1)
        with torch.autocast(features.device.type, enabled=False):
            flat = self._query(features).reshape(-1, self.slot_dim)
            # Sums by products: on a GPU an indexed sum queues for the few rows, and a count waits for the whole device.
            slot_sum = torch.zeros_like(self.slots, dtype=torch.float32)
            slot_count = torch.zeros_like(self.usage, dtype=torch.float32)
            numbers = torch.arange(self.num_slots, device=slot.device)
            for block, values in zip(torch.split(slot, _BLOCK), torch.split(flat, _BLOCK), strict=True):
                chosen = (block == numbers[:, None]).float()
                slot_sum.addmm_(chosen, values)
                slot_count.add_(chosen.sum(dim=1))
            query, key = F.normalize(flat, dim=-1, eps=EPS), self.key()
            centered = (self.slots - self.slots.mean(dim=0)).float()
            read = F.scaled_dot_product_attention(
                query[None, None], key[None, None], centered[None, None], scale=1.0 / self.temperature
            )
            square_sum = read[0, 0].square().sum(dim=0)
        return MemoryStatistics(slot_sum, slot_count, square_sum, slot_count.sum())

    @torch.no_grad()
    def initialize_(self, features: Tensor) -> None:
        """Draw the slots from encoder features (B, C, H, W), so that none is born dead; alike for the same features."""
        flat = self._query(features).reshape(-1, self.slot_dim)
        generator = torch.Generator().manual_seed(flat.shape[0])
        index = torch.randperm(flat.shape[0], generator=generator)
        index = index.repeat(-(-self.num_slots // len(index)))[: self.num_slots].to(flat.device)
        self.slots.copy_(flat[index])
        self.usage.zero_()
        self.initialized.fill_(1)
        self.read_std.copy_(_std(self.statistics(features)))

    @torch.no_grad()
    def update_(self, statistics: MemoryStatistics, decay: float | None = None) -> None:
        """Eq. 5: ``M <- decay * M + (1 - decay) * mean of the assigned features``; a slot without any stays as it is.

        Args:
            statistics: sums over all processes (see :func:`memgan.training.sync.all_reduce_statistics`).
            decay: replaces the bank's own, for a warm-up.
        """
        decay = self.decay if decay is None else decay
        count = statistics.slot_count[:, None]
        mean = statistics.slot_sum / count.clamp_min(1)
        slots = self.slots.float()
        self.slots.copy_(torch.where(count > 0, decay * slots + (1 - decay) * mean, slots))
        self.usage.add_(statistics.slot_count)
        # The scale of the read follows as slowly as the slots do, so that the layers behind it see a steady input.
        self.read_std.lerp_(_std(statistics), 1 - decay)


def _std(statistics: MemoryStatistics) -> Tensor:
    """(C,) standard deviation of the centered read, kept away from zero."""
    std = (statistics.read_square_sum / statistics.num_positions.clamp_min(1)).sqrt()
    return std.clamp_min(1e-4 * std.mean() + 1e-8)
