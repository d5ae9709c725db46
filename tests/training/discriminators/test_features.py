"""The discriminator on features: what it sees, that it learns, and how a training step uses it."""

from pathlib import Path

import pytest
import torch
from fakes import OneConvolution
from tiny import TINY_MOBILE as TINY
from tiny import settings
from torch import nn

from memgan.errors import ConfigError, ShapeError, StateMismatchError
from memgan.evaluation.networks.efficientnet import EfficientNetLite
from memgan.network.model import build_memgan
from memgan.training.build import make_discriminator
from memgan.training.checkpoint import load_discriminator, save_discriminator
from memgan.training.discriminators import FeatureDiscriminator
from memgan.training.losses.adversarial import discriminator_loss
from memgan.training.losses.deep_features import DeepFeatureLoss
from memgan.training.losses.objective import LossNetworks
from memgan.training.losses.perceptual import PerceptualLoss
from memgan.training.step import Trainer


def taps(seed: int, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(2, c, s, s, generator=generator) for c, s in ((4, 32), (6, 16), (8, 4))]


def test_it_judges_every_tap_in_squares() -> None:
    judge = FeatureDiscriminator((4, 6, 8), hidden=8)
    logits = judge(taps(0))
    assert logits.shape == (2, 3, 8, 8)
    # The last tap has 4 x 4 positions, each of which speaks for four squares.
    assert torch.equal(logits[:, 2], logits[:, 2, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert not torch.equal(logits[:, 1], logits[:, 1, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert judge([tap.repeat(1, 1, 4, 4) for tap in taps(0)]).shape == (2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert judge([tap.bfloat16() for tap in taps(0)]).dtype == torch.float32


def test_the_size_of_features_does_not_count() -> None:
    judged = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(0)
        judge = FeatureDiscriminator((4, 6, 8)).eval()
        judge.observe_(taps(1, scale))
        judged.append(judge(taps(2, scale)))
    assert torch.allclose(*judged, atol=1e-4)


def test_the_scale_follows_slowly() -> None:
    judge = FeatureDiscriminator((4, 6, 8))
    judge.observe_(taps(1))
    first = judge.square.clone()
    assert torch.allclose(first, torch.stack([tap.square().mean() for tap in taps(1)]))
    judge.observe_(taps(1, 10.0))
    assert torch.allclose(judge.square, first * (0.99 + 0.01 * 100))


def test_it_learns_what_is_missing() -> None:
    torch.manual_seed(0)
    judge = FeatureDiscriminator((4, 6, 8), hidden=16)
    optimizer = torch.optim.Adam(judge.parameters(), lr=5e-3, betas=(0.0, 0.99))

    def pair(seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        real = taps(seed)
        return real, [nn.functional.avg_pool2d(tap, 3, 1, 1) for tap in real]

    for seed in range(60):
        real, fake = pair(seed)
        judge.observe_(real)
        loss = discriminator_loss(judge(real), judge(fake), paired=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, fake = pair(1000)
    assert (judge(real) > judge(fake)).float().mean() > 0.9
    assert loss.item() < 0.5  # chance: 0.69


def test_other_features_are_refused() -> None:
    judge = FeatureDiscriminator((4, 6, 8))
    for wrong in (taps(0)[:2], taps(0)[::-1]):
        with pytest.raises(ShapeError, match="needed"):
            judge(wrong)
    for widths, hidden in (((), 8), ((4, 0), 8), ((4,), 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            FeatureDiscriminator(widths, hidden=hidden)


def test_a_step_teaches_both_sides() -> None:
    torch.manual_seed(0)
    config = settings({"discriminator.kind": "features", "losses.perceptual": 1.0, "losses.adversarial_paired": True})
    perceptual = PerceptualLoss(OneConvolution())
    judge = FeatureDiscriminator(perceptual.network.widths)
    made = Trainer(config, build_memgan(TINY), judge, LossNetworks(perceptual))
    generator = torch.Generator().manual_seed(7)
    clean = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    degraded = nn.functional.avg_pool2d(clean, 5, stride=1, padding=2)
    made.initialize_memory(degraded)
    made.set_rate(1.0)
    before = {name: value.clone() for name, value in judge.named_parameters()}
    report = made.step(clean, degraded)
    assert {"adversarial", "discriminator"} <= set(report) and "r1" not in report
    assert all(torch.isfinite(value) for value in report.values())
    changed = [name for name, value in judge.named_parameters() if not torch.equal(value, before[name])]
    assert any("original" in name for name in changed)  # the weights under spectral normalization
    assert judge.square.item() > 0


def test_features_need_a_network_that_computes_them() -> None:
    with pytest.raises(ConfigError, match=r"losses\.perceptual"):
        settings({"discriminator.kind": "features", "losses.perceptual": 0.0, "losses.adversarial": 0.1})
    settings({"discriminator.kind": "features", "losses.perceptual": 0.0, "losses.adversarial": 0.0})


def test_it_sees_whole_objects_as_well() -> None:
    torch.manual_seed(0)
    config = settings(
        {
            "discriminator.kind": "features",
            "losses.perceptual": 1.0,
            "losses.deep_feature": 1.0,
            "discriminator.deep_features": True,
            "losses.adversarial_paired": True,
        }
    )
    perceptual, deep = PerceptualLoss(OneConvolution()), DeepFeatureLoss(EfficientNetLite(0, "random"))
    networks = LossNetworks(perceptual, deep_feature=deep)
    judge = make_discriminator(config, 64, networks, torch.device("cpu"))
    assert judge.widths == (*perceptual.network.widths, 24, 40, 112, 1280)
    made = Trainer(config, build_memgan(TINY), judge, networks)
    clean = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(7)) * 2 - 1
    degraded = nn.functional.avg_pool2d(clean, 5, stride=1, padding=2)
    made.initialize_memory(degraded)
    made.set_rate(1.0)
    before = judge.heads[-1][0].parametrizations.weight.original.clone()
    report = made.step(clean, degraded)
    assert all(torch.isfinite(value) for value in report.values()) and "deep_feature" in report
    assert not torch.equal(judge.heads[-1][0].parametrizations.weight.original, before)
    assert (judge.square > 0).all()
    for wrong in ({"discriminator.kind": "picture"}, {"losses.deep_feature": 0.0}):
        with pytest.raises(ConfigError, match=r"discriminator\.deep_features"):
            config.changed(wrong)


def test_a_kept_discriminator_has_seen_the_same_taps(tmp_path: Path) -> None:
    def trainer(widths: tuple[int, ...]) -> Trainer:
        return Trainer(settings(), build_memgan(TINY), FeatureDiscriminator(widths, hidden=8))

    first, again, other = trainer((4, 6)), trainer((4, 6)), trainer((4, 6, 8))
    first.discriminator.observe_(taps(1)[:2])
    kept = tmp_path / "kept.safetensors"
    save_discriminator(kept, first.discriminator, {})
    load_discriminator(kept, again)
    judged = [made.discriminator.eval()(taps(0)[:2]) for made in (first, again)]
    assert torch.allclose(*judged, atol=1e-2)  # kept in half precision
    with pytest.raises(StateMismatchError, match="kept"):
        load_discriminator(kept, other)
