"""Memory diagnostics: usage, entropy and the mean slot, on banks whose state is known; and the memory's sheet."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from tiny import TINY_MOBILE as TINY
from torch import Tensor
from torch.nn import functional as F

from memgan.errors import ConfigError, DataError
from memgan.evaluation import EvaluatedFace, MemoryDiagnoser, MemoryDiagnostics, write_memory_sheet
from memgan.evaluation.memory_diagnostics import ALL, mean_read
from memgan.evaluation.sheets import _read_alone, principal_colors
from memgan.image import load_picture
from memgan.network.memory import MemoryBank
from memgan.network.model import MemGAN, build_memgan


def faces(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def network(**changes: object) -> MemGAN:
    """Untrained, but with fusions that let the memory through (a fresh one ignores it)."""
    torch.manual_seed(0)
    built = build_memgan(dataclasses.replace(TINY, **changes)).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if "fusion" in name or "affine" in name or "blend" in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return built


def diagnose(net: MemGAN, *batches: Tensor) -> MemoryDiagnostics:
    diagnoser = MemoryDiagnoser(net)
    for batch in batches:
        diagnoser.add(batch)
    return diagnoser.result()


@pytest.fixture(scope="module")
def tiny() -> MemGAN:
    return network()


def test_every_bank_is_reported(tiny: MemGAN) -> None:
    health = diagnose(tiny, faces(2), faces(1))
    assert health.num_faces == 3
    assert [bank.scale for bank in health.banks] == list(TINY.fused_scales)
    for bank in health.banks:
        assert bank.num_slots == TINY.slots(bank.scale) and bank.num_positions == 3 * bank.scale**2
        assert 1 <= bank.used_slots <= bank.num_slots and bank.dead_slots == bank.num_slots - bank.used_slots
        assert 1 <= bank.effective_slots <= bank.used_slots + 1e-9
        assert 0.9 < bank.attention_entropy <= 1  # temperature 1: nearly uniform
        assert bank.never_trained is None
    table = health.table()
    assert len(table.splitlines()) == len(health.banks) + 3 and ALL in table and "64" in table
    assert set(health.mean_slot_instead_of_read) == {str(scale) for scale in TINY.fused_scales} | {ALL}
    report = json.loads(json.dumps(dataclasses.asdict(health)))
    assert report["banks"][0]["dead_slots"] == health.banks[0].dead_slots


def test_usage_entropy_and_cosine_are_those_of_all_weights(tiny: MemGAN) -> None:
    pictures = faces()
    health = diagnose(tiny, pictures)
    with torch.no_grad():
        features = tiny.encoder(pictures)
    for report in health.banks:
        bank = tiny.memory[str(report.scale)]
        query = F.normalize(features[report.scale].movedim(1, -1).reshape(-1, bank.slot_dim).double(), dim=1)
        cosine = query @ F.normalize(bank.slots.double(), dim=1).T
        weight = cosine.softmax(1)
        entropy = -(weight * weight.log()).sum(1).mean() / math.log(bank.num_slots)
        assert report.attention_entropy == pytest.approx(entropy.item(), abs=1e-5)
        best = cosine.max(1)
        assert report.best_cosine == pytest.approx(best.values.mean().item(), abs=1e-4)
        share = torch.bincount(best.indices, minlength=bank.num_slots) / len(query)
        assert report.used_slots == (share > 0).sum()
        share = share[share > 0]
        assert report.effective_slots == pytest.approx(torch.exp(-(share * share.log()).sum()).item(), rel=1e-3)


def test_no_matrix_of_a_whole_picture(tiny: MemGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = []
    softmax = Tensor.log_softmax

    def watched(self: Tensor, dim: int) -> Tensor:
        largest.append(len(self))
        return softmax(self, dim)

    expected = diagnose(tiny, faces())
    monkeypatch.setattr("memgan.evaluation.memory_diagnostics._BLOCK", 1000)
    monkeypatch.setattr(Tensor, "log_softmax", watched)
    blocked = diagnose(tiny, faces())
    assert max(largest) == 1000
    for one, other in zip(blocked.banks, expected.banks, strict=True):
        assert one.attention_entropy == pytest.approx(other.attention_entropy, abs=1e-6)


def test_dead_slots_and_cold_attention(tiny: MemGAN) -> None:
    cold = network(memory_temperature=0.001)
    bank = cold.memory["8"]
    with torch.no_grad():
        features = cold.encoder(faces())[8]
        mean = features.mean((0, 2, 3))
        # One slot where the features are, the others on the far side: they never win.
        bank.slots.copy_(-mean + 0.01 * torch.randn(bank.slots.shape, generator=torch.Generator().manual_seed(0)))
        bank.slots[3] = mean
        bank.usage.copy_(torch.tensor([5.0, 0, 1, 2, 0, 0, 1, 1]))
    report = diagnose(cold, faces()).banks[0]
    assert report.used_slots == 1 and report.dead_slots == 7
    assert report.effective_slots == pytest.approx(1)
    assert report.attention_entropy < 0.01
    assert report.never_trained == 3


def test_one_slot_is_its_own_mean() -> None:
    health = diagnose(network(memory_max_slots=1), faces(1))
    assert all(bank.attention_entropy == 1 for bank in health.banks)
    assert all(change.psnr == math.inf and change.levels == 0 for change in health.mean_slot_instead_of_read.values())


def test_the_picture_owes_to_the_memory_what_the_mean_slot_takes_away(tiny: MemGAN) -> None:
    pictures = faces()
    changes = diagnose(tiny, pictures).mean_slot_instead_of_read
    assert all(change.levels > 0 and math.isfinite(change.psnr) for change in changes.values())
    # By hand for all banks: the read of the mean slot is what the decoder gets.
    with torch.no_grad():
        features = tiny.encoder(pictures)
        zeros = {scale: torch.zeros_like(features[scale]) for scale in TINY.fused_scales}
        changed = tiny.decoder(zeros, tiny.latent(features[4])).clamp(-1, 1)
        difference = (changed - tiny(pictures).image.clamp(-1, 1)).abs().mean() * 127.5
    assert changes[ALL].levels == pytest.approx(difference.item(), rel=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_the_mean_read_is_the_read_of_even_weights(normalize: bool, residual: bool) -> None:
    bank = MemoryBank(5, 4, temperature=1e6, normalize=normalize, residual=residual)
    features = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mean_read(bank, features), bank.read(features), atol=1e-5, rtol=0)


def test_what_cannot_be_looked_at_is_named(tiny: MemGAN) -> None:
    without = network(use_memory=False)
    with pytest.raises(ConfigError, match="no memory"):
        MemoryDiagnoser(without)
    with pytest.raises(DataError, match="at least one"):
        diagnose(tiny)
    with pytest.raises(ConfigError, match="use_memory"):
        write_memory_sheet(without, [pictures_of(tiny)], "sheet.png")
    with pytest.raises(ConfigError, match="0 faces"):
        write_memory_sheet(tiny, [], "sheet.png")


def pictures_of(net: MemGAN, truth: bool = True) -> EvaluatedFace:
    degraded = faces(1)[0]
    with torch.no_grad():
        pictures = {"input": degraded, "ours": net(degraded[None]).image[0].clamp(-1, 1)}
    return EvaluatedFace(0, 1, "more/a.png", 0, pictures | ({"truth": degraded} if truth else {}))


def test_memory_sheet(tiny: MemGAN, tmp_path: Path) -> None:
    sheets = []
    for truth in (True, False):
        path = tmp_path / f"{truth}.png"
        write_memory_sheet(tiny, [pictures_of(tiny, truth)] * 2, path, tile_px=32)
        sheets.append(load_picture(path).rgb)
    columns, step_y, step_x = 1 + len(TINY.fused_scales), 16 + 32 + 4, 32 + 4
    assert sheets[0].shape == (6 * step_y - 4, columns * step_x - 4, 3)
    assert (sheets[0][:step_y] == sheets[0][3 * step_y : 4 * step_y]).all()  # the same face twice
    for row in range(3):  # nothing is empty, and the columns differ
        tiles = [
            sheets[0][row * step_y + 16 : (row + 1) * step_y - 4, c * step_x : c * step_x + 32] for c in range(columns)
        ]
        assert all(tile.std() > 3 for tile in tiles)
        assert all((one != other).any() for one, other in itertools.pairwise(tiles))
    assert (sheets[1][2 * step_y + 16 : 3 * step_y - 4, :32] == 255).all()  # no truth: white
    assert (sheets[1][: 2 * step_y] == sheets[0][: 2 * step_y]).all()


def test_the_features_after_the_memory_are_the_read_alone() -> None:
    banks = [MemoryBank(5, 4, residual=residual) for residual in (True, False)]
    features = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    alone, plain = (_read_alone(bank, features) for bank in banks)
    torch.testing.assert_close(alone, plain, atol=1e-6, rtol=0)
    assert (plain - features).abs().max() > 0.1


def test_principal_colors() -> None:
    ramp = torch.linspace(-1, 1, 16).expand(16, 16)
    weak = 0.1 * torch.sin(40 * ramp.T)
    features = torch.stack([3 * ramp, -ramp + weak, 5 + 0 * ramp, weak])
    colors = principal_colors(features)
    assert colors.shape == (3, 16, 16) and colors.min() >= -1 and colors.max() <= 1
    # The strongest direction is the ramp, and red; its largest weight is positive, so red rises with it.
    assert torch.corrcoef(torch.stack([colors[0].flatten(), ramp.flatten()]))[0, 1] > 0.99
    torch.testing.assert_close(principal_colors(7 * features), colors, atol=1e-4, rtol=0)
    assert principal_colors(torch.zeros(1, 4, 4)).abs().max() == 0
