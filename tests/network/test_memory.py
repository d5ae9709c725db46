"""The memory bank against naive loops, and what must never change."""

import resource

import pytest
import torch
from torch import Tensor

from memgan.errors import ShapeError
from memgan.network import memory
from memgan.network.memory import MemoryBank


def naive_read(bank: MemoryBank, features: Tensor) -> Tensor:
    """Eq. 1-3 position by position in float64; the literal read."""
    batch, _, height, width = features.shape
    out = torch.zeros_like(features, dtype=torch.float64)
    slots = bank.slots.double()
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                f = features[b, :, y, x].double()
                cosines = torch.stack([(f @ m) / (f.norm() * m.norm()) for m in slots])
                weight = torch.exp(cosines / bank.temperature)
                weight = weight / weight.sum()
                out[b, :, y, x] = sum(w * m for w, m in zip(weight, slots, strict=True))
    return out


def naive_update(slots: Tensor, features: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Eq. 4-5 position by position."""
    groups: list[list[Tensor]] = [[] for _ in slots]
    for f in features.permute(0, 2, 3, 1).reshape(-1, features.shape[1]):
        cosines = [float((f @ m) / (f.norm() * m.norm())) for m in slots]
        groups[cosines.index(max(cosines))].append(f)
    updated = slots.clone()
    for k, group in enumerate(groups):
        if group:
            updated[k] = decay * slots[k] + (1 - decay) * torch.stack(group).mean(0)
    return updated, torch.tensor([float(len(group)) for group in groups])


@pytest.fixture
def bank() -> MemoryBank:
    torch.manual_seed(0)
    bank = MemoryBank(7, 5, decay=0.9)
    bank.slots.copy_(torch.randn(7, 5))
    return bank


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_literal_read_equals_naive_loops(bank: MemoryBank, temperature: float) -> None:
    bank.temperature, bank.normalize = temperature, False
    features = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(bank.read(features).double(), naive_read(bank, features), atol=1e-6, rtol=1e-5)


def test_normalized_read_is_the_centered_and_rescaled_literal_one(bank: MemoryBank) -> None:
    features = torch.randn(2, 5, 3, 4)
    bank.read_std.copy_(torch.rand(5) + 0.01)
    expected = (naive_read(bank, features) - bank.slots.double().mean(0)[:, None, None]) / bank.read_std[:, None, None]
    torch.testing.assert_close(bank.read(features).double(), expected, atol=2e-5, rtol=1e-4)


def test_more_rows_than_a_kernel_takes_are_read_as_pictures(bank: MemoryBank, monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(3, 5, 5, 6)
    expected = bank.read(features)
    monkeypatch.setattr(memory, "_MOST_ROWS", 14)
    torch.testing.assert_close(bank.read(features), expected)


def test_residual_adds_the_query(bank: MemoryBank) -> None:
    features = torch.randn(1, 5, 2, 2)
    plain = bank.read(features)
    bank.residual = True
    torch.testing.assert_close(bank.read(features), plain + features)


def test_update_equals_naive_loops_and_leaves_empty_slots(bank: MemoryBank) -> None:
    features = torch.randn(2, 5, 3, 3) + 2
    bank.slots[3] = -torch.ones(5)  # opposite to all features
    before = bank.slots.clone()
    expected, counts = naive_update(before, features, 0.9)
    bank.update_(bank.statistics(features))
    torch.testing.assert_close(bank.slots, expected)
    torch.testing.assert_close(bank.usage, counts)
    empty = counts == 0
    assert empty.any() and not empty.all()
    assert torch.equal(bank.slots[empty], before[empty])


def test_statistics_of_parts_add_up_to_the_whole(bank: MemoryBank) -> None:
    features = torch.randn(4, 5, 3, 3)
    whole = bank.statistics(features)
    parts = [a + b for a, b in zip(bank.statistics(features[:1]), bank.statistics(features[1:]), strict=True)]
    for part, total in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, total)


def test_decay_one_freezes(bank: MemoryBank) -> None:
    before = bank.slots.clone()
    bank.update_(bank.statistics(torch.randn(1, 5, 4, 4)), decay=1.0)
    torch.testing.assert_close(bank.slots, before)


def test_read_and_inspect_change_nothing(bank: MemoryBank) -> None:
    before = {name: value.clone() for name, value in bank.state_dict().items()}
    bank.train()
    features = torch.randn(2, 5, 4, 4, requires_grad=True)
    bank.read(features).sum().backward()
    bank.assign(features.detach())
    bank.statistics(features.detach())
    assert all(torch.equal(value, before[name]) for name, value in bank.state_dict().items())
    assert features.grad is not None and features.grad.abs().sum() > 0


def test_initialize_draws_slots_from_the_features(bank: MemoryBank) -> None:
    features = torch.randn(1, 5, 4, 4)
    bank.initialize_(features)
    rows = features.permute(0, 2, 3, 1).reshape(-1, 5)
    assert all((rows == slot).all(dim=1).any() for slot in bank.slots)
    assert float(bank.initialized) == 1
    read = bank.read(features)
    torch.testing.assert_close(read.square().mean((0, 2, 3)).sqrt(), torch.ones(5), atol=1e-3, rtol=1e-3)


def test_initialize_with_fewer_positions_than_slots(bank: MemoryBank) -> None:
    bank.initialize_(torch.randn(1, 5, 2, 2))
    assert torch.isfinite(bank.slots).all() and len(torch.unique(bank.slots, dim=0)) == 4


def test_inspect_finds_the_most_similar_slot(bank: MemoryBank) -> None:
    features = bank.slots.t().reshape(1, 5, 1, 7) * 3
    evidence = bank.assign(features)
    assert evidence.slot.flatten().tolist() == list(range(7))
    torch.testing.assert_close(evidence.cosine.flatten(), torch.ones(7))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_read_with_a_large_common_mean(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    bank = MemoryBank(16, 8)
    features = (torch.randn(1, 8, 12, 12) + 40).to(dtype)  # the same rounded numbers for both reads
    bank.initialize_(features.float())
    exact = bank.read(features.float())
    half = bank.read(features)
    assert half.dtype == dtype
    assert (half.float() - exact).abs().max() <= 1e-2 * exact.abs().max()


def test_autocast_does_not_reach_the_memory(bank: MemoryBank) -> None:
    features = torch.randn(1, 5, 8, 8)
    plain = bank.read(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bank.read(features), plain)
        statistics = bank.statistics(features)
    assert statistics.slot_sum.dtype == torch.float32
    torch.testing.assert_close(statistics.slot_sum, bank.statistics(features).slot_sum)


def test_no_positions_by_slots_matrix_at_512_px() -> None:
    bank = MemoryBank(512, 16)
    features = torch.randn(1, 16, 512, 512)
    matrix_bytes = 512 * 512 * 512 * 4
    bank.read(features[..., :64, :64])  # libraries are loaded before the measurement
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with torch.no_grad():
        bank.read(features)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert grown < matrix_bytes / 2, f"the read grew memory by {grown / 2**20:.0f} MiB"


def test_errors_name_the_numbers(bank: MemoryBank) -> None:
    with pytest.raises(ShapeError, match=r"\(1, 4, 2, 2\).*\(B, 5, H, W\)"):
        bank.read(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ShapeError):
        bank.read(torch.zeros(5, 2, 2))
