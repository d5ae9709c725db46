"""One training step: what moves, what stays, and where the losses look."""

import functools

import pytest
import torch
from fakes import OneConvolution, random_prior_faces
from tiny import TINY_MOBILE as TINY
from tiny import settings

from memgan.errors import ConfigError
from memgan.network.model import build_memgan
from memgan.training.build import make_discriminator
from memgan.training.discriminators import Discriminator, FeatureDiscriminator
from memgan.training.losses.objective import LossNetworks
from memgan.training.losses.perceptual import PerceptualLoss
from memgan.training.step import Trainer

CPU = torch.device("cpu")


def trainer(changes: dict[str, object] | None = None) -> Trainer:
    torch.manual_seed(0)
    config = settings(changes)
    discriminator = Discriminator(config.discriminator.size or 64, channel_base=256, channel_max=16)
    perceptual = PerceptualLoss(OneConvolution()) if config.losses.perceptual else None
    judge = discriminator if config.losses.adversarial else None
    made = Trainer(config, build_memgan(TINY), judge, LossNetworks(perceptual))
    made.initialize_memory(batch()[1])
    made.set_rate(1.0)
    return made


def batch(size: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    clean = torch.rand(size, 3, 64, 64, generator=generator) * 2 - 1
    return clean, torch.nn.functional.avg_pool2d(clean, 5, stride=1, padding=2)


def test_a_step_updates_every_part() -> None:
    made = trainer({"losses.perceptual": 1.0})
    parts = {
        "generator": made.generator.state_dict(),
        "averaged": made.averaged.network.state_dict(),
        "discriminator": made.discriminator.state_dict(),
    }
    before = {part: {name: value.clone() for name, value in state.items()} for part, state in parts.items()}
    report = made.step(*batch())
    assert {"loss", "l1", "perceptual", "adversarial", "discriminator", "r1", "gradient_norm"} <= set(report)
    assert all(torch.isfinite(value) for value in report.values())
    for part, state in parts.items():
        changed = [name for name, value in state.items() if not torch.equal(value, before[part][name])]
        assert len(changed) > len(state) / 3, part
    assert any(name.startswith("memory.") and name.endswith("slots") for name in changed_names(made, before))


def test_a_frozen_memory_stays_as_it_is_while_the_rest_learns() -> None:
    made = trainer({"memory.frozen": True})
    before = {"generator": {name: value.clone() for name, value in made.generator.state_dict().items()}}
    made.step(*batch())
    changed = changed_names(made, before)
    assert any(name.startswith("encoder.") for name in changed)
    assert not any(name.startswith("memory.") for name in changed)


@pytest.mark.parametrize("kind", ["picture", "features"])
@pytest.mark.parametrize("place", ["clean", "degraded", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(kind: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings({"losses.perceptual": 1.0, "discriminator.kind": kind})
    networks = LossNetworks(PerceptualLoss(OneConvolution()))
    made = Trainer(config, build_memgan(TINY), make_discriminator(config, 64, networks, CPU), networks)
    made.initialize_memory(batch()[1])
    made.step(*batch())
    optimizers = made.generator_optimizer, made.discriminator_optimizer
    parts = [made.generator, made.averaged.network, made.discriminator]

    def everything() -> list[torch.Tensor]:
        states = [value for adam in optimizers for state in adam.state.values() for value in state.values()]
        return [value.clone() for value in (*(t for part in parts for t in part.state_dict().values()), *states)]

    before, updates = everything(), made.averaged.updates
    clean, degraded = batch()
    with monkeypatch.context() as patch:
        if place == "gradient":
            poisoned = made.discriminator.parameters().__next__()
            backward = made.backward
            patch.setattr(made, "backward", lambda loss: (backward(loss), poison(poisoned)))
        else:
            (clean if place == "clean" else degraded)[0, 0, 0, 0] = float("inf")
        report = made.step(clean, degraded)
    assert {name: float(value) for name, value in report.items()} == {"skipped": 1}
    assert (made.step_index, made.skipped, made.skipped_in_a_row, made.averaged.updates) == (2, 1, 1, updates)
    assert all(map(torch.equal, everything(), before))
    report = made.step(*batch())
    assert report["skipped"] == 0 and torch.isfinite(report["loss"])
    assert (made.step_index, made.skipped, made.skipped_in_a_row) == (3, 1, 0)
    assert not all(map(torch.equal, everything(), before))


def poison(parameter: torch.nn.Parameter) -> None:
    if parameter.grad is not None:
        parameter.grad.fill_(float("nan"))


@pytest.mark.parametrize("window", [{}, {"window.size": 12, "window.scale": 16, "window.margin": 4}])
def test_the_judge_of_pictures_fits_what_it_sees(window: dict[str, object]) -> None:
    config = settings(window)
    judge = make_discriminator(config, 64, LossNetworks(), CPU)
    assert judge.image_size == (32 if window else 64)  # windows leave at least 40 px
    made = Trainer(config, build_memgan(TINY), judge)
    for _ in range(3):
        assert torch.isfinite(made.step(*batch())["discriminator"])


def test_only_the_judge_of_pictures_has_a_size_that_must_fit() -> None:
    window = {"window.size": 12, "window.scale": 16, "window.margin": 4}
    with pytest.raises(ConfigError, match=r"discriminator.size"):
        trainer({**window, "discriminator.size": 64})
    with pytest.raises(ConfigError, match=r"need pictures of 128 px, these have 64: lower discriminator.size"):
        trainer({"discriminator.size": 128})
    trainer({"discriminator.size": 128, "losses.adversarial": 0.0})
    trainer({**window, "discriminator.size": 128, "discriminator.kind": "features", "losses.perceptual": 1.0})


def test_spectral_norms_are_followed_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings({"losses.perceptual": 1.0, "discriminator.kind": "features"})
    perceptual = PerceptualLoss(OneConvolution())
    judge = FeatureDiscriminator(perceptual.network.widths)
    made = Trainer(config, build_memgan(TINY), judge, LossNetworks(perceptual))
    followed = []
    monkeypatch.setattr(
        torch.nn.utils.parametrizations._SpectralNorm, "_power_method", lambda norm, *_: followed.append(norm)
    )
    made.step(*batch())
    assert len(followed) == len(set(followed)) == 3
    made.step(*batch())
    assert len(followed) == 6


def changed_names(made: Trainer, before: dict[str, dict[str, torch.Tensor]]) -> list[str]:
    state = made.generator.state_dict()
    return [name for name, value in state.items() if not torch.equal(value, before["generator"][name])]


def test_the_prior_stays_frozen_for_its_first_steps() -> None:
    made = trainer({"optimizer.prior_frozen_steps": 1, "losses.adversarial": 0.0})
    before = {name: p.detach().clone() for name, p in made.generator.decoder.synthesis.named_parameters()}
    made.step(*batch())
    assert all(torch.equal(p, before[n]) for n, p in made.generator.decoder.synthesis.named_parameters())
    made.set_rate(1.0)
    made.step(*batch())
    assert any(not torch.equal(p, before[n]) for n, p in made.generator.decoder.synthesis.named_parameters())


def test_adversarial_loss_waits_for_its_first_step() -> None:
    made = trainer({"losses.adversarial_from": 1})
    assert "discriminator" not in made.step(*batch())
    assert "discriminator" in made.step(*batch())


def test_the_discriminator_has_a_rate_of_its_own() -> None:
    made = trainer({"discriminator.rate": 5.0})
    made.set_rate(0.5)
    assert made.discriminator_optimizer.param_groups[0]["lr"] == pytest.approx(
        2.5 * made.config.optimizer.learning_rate
    )


def test_a_paired_discriminator_learns_what_is_missing() -> None:
    made = trainer(
        {
            "losses.adversarial_paired": True,
            "discriminator.rate": 5.0,
            "losses.l1": 0.0,
            "optimizer.learning_rate": 1e-3,
        }
    )
    made.set_rate(1.0)
    made.generator_optimizer.step = lambda *_, **__: None  # the restored faces stay as they are
    losses = [float(made.step(*batch())["discriminator"]) for _ in range(25)]
    assert losses[-1] < 0.35 < losses[0]  # log 2 is chance


@pytest.mark.parametrize(("name", "weight", "share"), [("checkerboard", 100.0, 0.5), ("known_detail", 10.0, 0.9)])
def test_a_loss_besides_eq_13_is_part_of_a_step(name: str, weight: float, share: float) -> None:
    losses = {"losses.l1": 0.0, "losses.adversarial": 0.0, "optimizer.learning_rate": 2e-3, "optimizer.prior_rate": 1.0}
    made = trainer({**{f"losses.{name}": weight}, **losses})
    found = [float(made.step(*batch())[name]) for _ in range(40)]
    assert found[-1] < share * found[0]
    assert name not in trainer(losses).step(*batch())


def test_discriminator_sees_crops() -> None:
    made = trainer({"discriminator.size": 32})
    assert torch.isfinite(made.step(*batch())["discriminator"])


def test_memory_positions_bound_the_sample_without_bias() -> None:
    made = trainer({"memory.positions": 256, "losses.adversarial": 0.0})
    features = torch.arange(64.0 * 64).reshape(1, 1, 64, 64)
    seen = torch.cat([made._sampled(features).flatten() for _ in range(200)])
    assert made._sampled(features).numel() == 256
    assert len(seen.unique()) == 64 * 64  # every position has its turn
    assert made._sampled(features[..., :16, :16]).numel() == 256


def test_window_training_reaches_all_parts() -> None:
    made = trainer({"window.size": 12, "window.scale": 16, "window.margin": 4, "losses.adversarial": 0.0})
    made.step(*batch())
    for name, parameter in made.generator.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.slow
def test_matching_the_prior_teaches_its_latent_code_and_features() -> None:
    torch.manual_seed(0)
    prior = random_prior_faces()
    config = settings(
        {
            "losses.adversarial": 0.0,
            "losses.l1": 0.0,
            "data.synthetic": 1.0,
            "losses.prior_match": 1.0,
            "losses.prior_match_scale": 16,
        }
    )
    networks = LossNetworks(prior_features=functools.partial(prior.features, up_to=16))
    made = Trainer(config, build_memgan(TINY), None, networks)
    made.generator.decoder.synthesis.load_state_dict(prior.synthesis.state_dict())
    clean, latent = prior.draw(8, torch.Generator().manual_seed(3))
    made.initialize_memory(clean)
    made.set_rate(1.0)
    missed = [float(made.step(clean, clean, latent)["prior_match"]) for _ in range(60)]
    assert missed[-1] < 0.5 * missed[0]
    assert all(p.grad is None or not p.grad.any() for p in made.generator.decoder.synthesis.blocks[-1].parameters())


def test_matching_ends_and_keeps_the_latent_code_out_of_the_other_losses() -> None:
    prior = random_prior_faces()
    made = Trainer(
        settings(
            {
                "losses.adversarial": 0.0,
                "data.synthetic": 0.5,
                "losses.prior_match": 1.0,
                "losses.prior_match_until": 0.5,
            }
        ),
        build_memgan(TINY),
        None,
        LossNetworks(prior_features=functools.partial(prior.features, up_to=64)),
    )
    clean, degraded = batch()
    made.initialize_memory(degraded)
    latent = torch.randn(1, TINY.style_dim)
    made.set_rate(1.0, progress=0.25)
    assert made.objective.weights["prior_match"] == pytest.approx(0.5)
    assert "prior_match" in made.step(clean, degraded, latent)
    assert any(p.grad.any() for p in made.generator.latent.parameters())
    made.set_rate(1.0, progress=0.6)
    made.step(clean, degraded, latent)
    assert not any(p.grad.any() for p in made.generator.latent.parameters())
    assert any(p.grad.any() for p in made.generator.encoder.parameters())


def test_averaged_weights_follow_slowly_and_buffers_at_once() -> None:
    made = trainer({"losses.adversarial": 0.0})
    start = [p.clone() for p in made.generator.parameters()]
    made.step(*batch())
    pairs = zip(start, made.averaged.network.parameters(), made.generator.parameters(), strict=True)
    for before, average, now in pairs:
        torch.testing.assert_close(average, torch.lerp(now.detach(), before, 2 / 11))
    for average, now in zip(made.averaged.network.buffers(), made.generator.buffers(), strict=True):
        assert torch.equal(average, now)
