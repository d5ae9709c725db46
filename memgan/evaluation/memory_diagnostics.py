"""Whether the memory works: which slots are used, how sharp the attention is, and what the picture owes to it."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from memgan.errors import ConfigError, DataError
from memgan.evaluation.metrics.fidelity import psnr
from memgan.network.memory import EPS, MemoryBank
from memgan.network.model import MemGAN

_BLOCK = 16384  # positions at a time: the (positions, K) matrix of a 512 px picture is never held
ALL = "all"
"""In the place of a scale: every bank at once."""


@dataclasses.dataclass(frozen=True)
class BankHealth:
    """One bank, looked at through some degraded faces."""

    scale: int
    """Side of its feature map in pixels."""
    num_slots: int
    num_positions: int
    """Positions looked at; a slot may only seem dead where they are few."""
    used_slots: int
    """Slots that are the most similar one (Eq. 4) of some position."""
    effective_slots: float
    """exp(entropy) of these assignments: K if all slots serve equally many positions, 1 if one serves them all."""
    never_trained: int | None
    """Slots without any assignment in the whole training; ``None`` if the weights do not tell."""
    attention_entropy: float
    """Mean entropy of Eq. 2's weights over its maximum log K: 1 is the plain mean of all slots, 0 a single slot."""
    best_cosine: float
    """Mean cosine of a position and its most similar slot."""

    @property
    def dead_slots(self) -> int:
        """Slots that serve no position of these faces."""
        return self.num_slots - self.used_slots


@dataclasses.dataclass(frozen=True)
class ReadChange:
    """How far the restored picture moves when a bank hands on its mean slot at every position."""

    psnr: float
    """Of the changed picture against the unchanged one, dB, mean over faces; infinite if nothing changes."""
    levels: float
    """Mean absolute change in levels of 8 bit."""


@dataclasses.dataclass(frozen=True)
class MemoryHealth:
    """Health of all banks."""

    num_faces: int
    temperature: float
    banks: tuple[BankHealth, ...]
    changes: dict[str, ReadChange]
    """By scale as text, and ``all`` for every bank at once."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        banks = [dataclasses.asdict(bank) | {"dead_slots": bank.dead_slots} for bank in self.banks]
        changes = {name: dataclasses.asdict(change) for name, change in self.changes.items()}
        return {
            "num_faces": self.num_faces,
            "temperature": self.temperature,
            "banks": banks,
            "mean_slot_instead_of_read": changes,
        }

    def table(self) -> str:
        """One row per bank."""
        lines = [
            f"memory, {self.num_faces} faces, temperature {self.temperature:g}; last two columns: the picture with the "
            "mean slot instead of the read",
            "scale  slots   used   dead  effective  never trained  entropy/max  best cosine  PSNR, dB  change, levels",
        ]
        for bank in self.banks:
            change = self.changes[str(bank.scale)]
            trained = "?" if bank.never_trained is None else str(bank.never_trained)
            lines.append(
                f"{bank.scale:5d} {bank.num_slots:6d} {bank.used_slots:6d} {bank.dead_slots:6d} "
                f"{bank.effective_slots:10.1f} {trained:>14} {bank.attention_entropy:12.4f} {bank.best_cosine:12.4f} "
                f"{change.psnr:9.2f} {change.levels:15.3f}"
            )
        change = self.changes[ALL]
        lines.append(f"{ALL:>5} {'':77} {change.psnr:9.2f} {change.levels:15.3f}")
        return "\n".join(lines)


def memory_health(network: MemGAN, batches: Iterable[Tensor]) -> MemoryHealth:
    """Look at the memory of a network while it restores faces.

    Args:
        network: in evaluation mode.
        batches: degraded faces, (B, 3, S, S) in [-1, 1], on the network's device.

    Raises:
        ConfigError: if the network has no memory.
        DataError: if there are no faces.
    """
    meter = MemoryHealthMeter(network)
    for batch in batches:
        meter.add(batch)
    return meter.result()


class MemoryHealthMeter:
    """:func:`memory_health` for faces that come one after the other.

    Args:
        network: in evaluation mode.

    Raises:
        ConfigError: if it has no memory.
    """

    def __init__(self, network: MemGAN) -> None:
        if not network.memory:
            raise ConfigError(f"{network.config.name} has no memory (use_memory is off); there is nothing to look at.")
        self._network = network
        self._banks: dict[int, MemoryBank] = {int(name): bank for name, bank in network.memory.items()}
        self._counts = {scale: torch.zeros(bank.num_slots) for scale, bank in self._banks.items()}
        self._entropy = dict.fromkeys(self._banks, 0.0)
        self._cosine = dict.fromkeys(self._banks, 0.0)
        self._changes: dict[str, list[tuple[float, float]]] = {}
        self._num_faces = 0

    @torch.no_grad()
    def add(self, degraded: Tensor) -> None:
        """Look at a batch: (B, 3, S, S) in [-1, 1], on the network's device."""
        network = self._network
        encoded = network.encode(degraded)
        features, memories = encoded.features, encoded.memories
        restored = network.decode(encoded).clamp(-1, 1)
        means = {scale: mean_read(bank, features[scale]) for scale, bank in self._banks.items()}
        for scale, adjust in network.adjustments(features).items():
            means[scale] = adjust(means[scale])
        for scale, bank in self._banks.items():
            self._look_at(scale, bank, features[scale])
        for name, replaced in ({str(scale): {scale: mean} for scale, mean in means.items()} | {ALL: means}).items():
            changed = network.decode(encoded._replace(memories={**memories, **replaced})).clamp(-1, 1)
            levels = (changed - restored).abs().float().mean((1, 2, 3)) * 127.5
            pairs = zip(psnr(changed, restored).tolist(), levels.tolist(), strict=True)
            self._changes.setdefault(name, []).extend(pairs)
        self._num_faces += len(degraded)

    def result(self) -> MemoryHealth:
        """What was found so far.

        Raises:
            DataError: if there were no faces.
        """
        if not self._num_faces:
            raise DataError("No faces to look at the memory with; give at least one.")
        changes = {}
        for name, pairs in self._changes.items():
            decibels, levels = zip(*pairs, strict=True)
            changes[name] = ReadChange(math.fsum(decibels) / len(pairs), math.fsum(levels) / len(pairs))
        banks = tuple(self._bank(scale, bank) for scale, bank in self._banks.items())
        return MemoryHealth(self._num_faces, self._network.config.memory_temperature, banks, changes)

    def _look_at(self, scale: int, bank: MemoryBank, features: Tensor) -> None:
        found = bank.assign(features)
        self._counts[scale] += torch.bincount(found.slot.flatten(), minlength=bank.num_slots).cpu()
        self._cosine[scale] += float(found.cosine.double().sum())
        key = F.normalize(bank.slots.float(), dim=-1, eps=EPS).t()
        query = F.normalize(features.float().movedim(1, -1).flatten(0, 2), dim=-1, eps=EPS)
        for block in query.split(_BLOCK):
            log_weight = (block @ key / bank.temperature).log_softmax(1)
            self._entropy[scale] -= float((log_weight.exp() * log_weight).sum().double())

    def _bank(self, scale: int, bank: MemoryBank) -> BankHealth:
        counts = self._counts[scale].double()
        positions = float(counts.sum())
        share = counts[counts > 0] / positions
        trained = bank.usage
        # log K = 0 where there is one slot: its weight is always 1, as even as can be.
        most = math.log(bank.num_slots)
        return BankHealth(
            scale=scale,
            num_slots=bank.num_slots,
            num_positions=int(positions),
            used_slots=len(share),
            effective_slots=float(torch.exp(-(share * share.log()).sum())),
            never_trained=int((trained == 0).sum()) if bool((trained > 0).any()) else None,
            attention_entropy=self._entropy[scale] / positions / most if most else 1.0,
            best_cosine=self._cosine[scale] / positions,
        )


def mean_read(bank: MemoryBank, features: Tensor) -> Tensor:
    """What the bank would hand on if its weights were all equal: (B, C, H, W), as :meth:`MemoryBank.read` gives it."""
    # The centered read of the mean slot is 0; a residual bank still hands on the features beside it.
    mean = torch.zeros_like(bank.slots[0]) if bank.normalize else bank.slots.mean(0)
    mean = mean.to(features.dtype)[:, None, None].expand_as(features)
    return mean + features if bank.residual else mean
