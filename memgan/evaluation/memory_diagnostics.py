"""Diagnoses the memory: slot usage, sharpness of the attention, and the memory's effect on the picture."""

import dataclasses
import math
from collections import defaultdict

import torch
from torch import Tensor
from torch.nn import functional as F

from memgan.errors import ConfigError, DataError
from memgan.evaluation.metrics.fidelity import psnr
from memgan.network.memory import EPS, MemoryBank
from memgan.network.model import MemGAN
from memgan.runtime.tables import text_table

_BLOCK = 16384  # positions at a time, because the (positions, K) matrix of a 512 px picture is large
ALL = "all"  # banks together, in place of a scale


@dataclasses.dataclass(frozen=True)
class BankDiagnostics:
    """One bank, as some degraded faces use it."""

    scale: int  # side of its feature map in pixels
    num_slots: int
    num_positions: int  # of all faces; of few positions, used slots may seem dead
    used_slots: int  # the most similar one (Eq. 4) of some position
    effective_slots: float  # exp(entropy) of these assignments: K if all serve equally many, 1 if one serves them all
    never_trained: int | None  # without any assignment in the whole training; None if the weights do not tell
    attention_entropy: float  # mean, of Eq. 2's weights, over its maximum log K: 1 is even, 0 a single slot
    best_cosine: float  # mean cosine of a position and its most similar slot
    dead_slots: int  # the most similar one of no position


@dataclasses.dataclass(frozen=True)
class PictureChange:
    """Change of the restored picture when a bank returns its mean slot at every position; means over faces."""

    psnr: float  # of the changed picture against the unchanged one, dB; infinite if nothing changes
    levels: float  # absolute change in 8-bit levels


@dataclasses.dataclass(frozen=True)
class MemoryDiagnostics:
    """Diagnostics of all banks."""

    num_faces: int
    temperature: float
    banks: tuple[BankDiagnostics, ...]
    mean_slot_instead_of_read: dict[str, PictureChange]  # by scale as text, and ``all`` for every bank at once

    def table(self) -> str:
        """One row per bank."""
        head = ["scale", "slots", "used", "dead", "effective", "never trained", "entropy/max", "best cosine"]
        rows = []
        for bank in self.banks:
            row = [str(count) for count in (bank.scale, bank.num_slots, bank.used_slots, bank.dead_slots)]
            row += [f"{bank.effective_slots:.1f}", "?" if bank.never_trained is None else str(bank.never_trained)]
            rows.append([*row, f"{bank.attention_entropy:.4f}", f"{bank.best_cosine:.4f}"])
        rows.append([ALL, *[""] * (len(head) - 1)])
        for row in rows:
            change = self.mean_slot_instead_of_read[row[0]]
            row += [f"{change.psnr:.2f}", f"{change.levels:.3f}"]
        title = (
            f"memory, {self.num_faces} faces, temperature {self.temperature:g}; last two columns: the picture with the "
            "mean slot instead of the read"
        )
        return f"{title}\n{text_table([*head, 'PSNR, dB', 'change, levels'], rows, left=0)}"


class MemoryDiagnoser:
    """Observes the memory of a network in evaluation mode while it restores faces.

    Raises:
        ConfigError: if it has no memory.
    """

    def __init__(self, network: MemGAN) -> None:
        if not network.memory:
            raise ConfigError(f"{network.config.name} has no memory (use_memory is off); there is nothing to diagnose.")
        self._network = network
        self._meters = {int(name): _BankMeter(int(name), bank) for name, bank in network.memory.items()}
        self._changes: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._num_faces = 0

    @torch.no_grad()
    def add(self, degraded: Tensor) -> None:
        """Restore a batch: (B, 3, S, S) in [-1, 1], on the network's device."""
        encoded = self._network.encode(degraded)
        restored = self._network.decode(encoded).clamp(-1, 1)
        means: dict[int, Tensor] = {}
        for scale, meter in self._meters.items():
            meter.add(encoded.features[scale])
            means[scale] = mean_read(meter.bank, encoded.features[scale])
        for scale, adjust in self._network.adjustments(encoded.features).items():
            means[scale] = adjust(means[scale])
        for name, replaced in [*((str(scale), {scale: mean}) for scale, mean in means.items()), (ALL, means)]:
            changed = self._network.decode(encoded._replace(memories={**encoded.memories, **replaced})).clamp(-1, 1)
            levels = (changed - restored).abs().float().mean((1, 2, 3)) * 127.5
            self._changes[name] += zip(psnr(changed, restored).tolist(), levels.tolist(), strict=True)
        self._num_faces += len(degraded)

    def result(self) -> MemoryDiagnostics:
        """Diagnostics over all faces so far; :class:`DataError` if there were none."""
        count = self._num_faces
        if not count:
            raise DataError("No faces to diagnose the memory with; give at least one.")
        changes = {
            name: PictureChange(*(math.fsum(values) / count for values in zip(*pairs, strict=True)))
            for name, pairs in self._changes.items()
        }
        banks = tuple(meter.result() for meter in self._meters.values())
        return MemoryDiagnostics(count, self._network.config.memory_temperature, banks, changes)


class _BankMeter:
    """Accumulates the diagnostics of one bank."""

    def __init__(self, scale: int, bank: MemoryBank) -> None:
        self.scale, self.bank = scale, bank
        self._counts = torch.zeros(bank.num_slots, dtype=torch.float64)
        self._entropy = self._cosine = 0.0

    def add(self, features: Tensor) -> None:
        bank = self.bank
        found = bank.assign(features)
        self._counts += torch.bincount(found.slot.flatten(), minlength=bank.num_slots).cpu()
        self._cosine += float(found.cosine.double().sum())
        key = F.normalize(bank.slots.float(), dim=-1, eps=EPS).t()
        query = F.normalize(features.float().movedim(1, -1).flatten(0, 2), dim=-1, eps=EPS)
        for block in query.split(_BLOCK):
            log_weight = (block @ key / bank.temperature).log_softmax(1)
            self._entropy -= float((log_weight.exp() * log_weight).sum().double())

    def result(self) -> BankDiagnostics:
        positions = float(self._counts.sum())
        share = self._counts[self._counts > 0] / positions
        trained = self.bank.usage
        most = math.log(self.bank.num_slots)  # 0 for one slot, whose weight is always 1, as even as can be
        return BankDiagnostics(
            scale=self.scale,
            num_slots=self.bank.num_slots,
            num_positions=int(positions),
            used_slots=len(share),
            dead_slots=self.bank.num_slots - len(share),
            effective_slots=float(torch.exp(-(share * share.log()).sum())),
            never_trained=int((trained == 0).sum()) if bool((trained > 0).any()) else None,
            attention_entropy=self._entropy / positions / most if most else 1.0,
            best_cosine=self._cosine / positions,
        )


def mean_read(bank: MemoryBank, features: Tensor) -> Tensor:
    """The bank's read for equal weights of all slots: (B, C, H, W), as :meth:`MemoryBank.read` returns it."""
    # The centered read of the mean slot is 0; a residual bank adds the features.
    mean = torch.zeros_like(bank.slots[0]) if bank.normalize else bank.slots.mean(0)
    mean = mean.to(features.dtype)[:, None, None].expand_as(features)
    return mean + features if bank.residual else mean
