"""One training step: what moves, what stays, and where the losses look."""

import functools

import pytest
import torch
from fakes import OneConvolution, random_prior_faces
from tiny import TINY_MOBILE as TINY
from tiny import settings

from memgan.errors import ConfigError
from memgan.faces.align import FFHQ_SIZE_PX, FFHQ_TEMPLATE
from memgan.network.model import build_memgan
from memgan.network.window import Window
from memgan.training.discriminators.features import FeatureDiscriminator
from memgan.training.discriminators.pictures import Discriminator
from memgan.training.losses.checkerboard import checkerboard_distance
from memgan.training.losses.objective import LossNetworks, check_window
from memgan.training.losses.perceptual import PerceptualLoss
from memgan.training.losses.prior_match import prior_distance
from memgan.training.step import Trainer
from memgan.training.warm_start import begin_at_mean_latent_
from memgan.training.window import (
    COMPONENTS,
    FOCUS_SHIFT,
    Area,
    Focus,
    draw_focus,
    draw_window,
    random_area,
    valid_area,
)


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


def test_a_grid_is_seen_and_other_errors_are_not() -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(2, 3, 128, 128, generator=generator) * 2 - 1
    noise = 0.1 * torch.randn(2, 3, 128, 128, generator=generator)
    cell = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    board = 0.1 * cell.repeat(64, 64)
    assert float(checkerboard_distance(target + board, target)) == pytest.approx(0.01, rel=1e-4)
    assert (
        float(checkerboard_distance(target + noise, target)) < 0.07 * 0.01
    )  # as strong, but without a place in the grid
    assert float(checkerboard_distance(target + 0.3, target)) == pytest.approx(0, abs=1e-9)
    half = torch.cat([board[:, :64], -board[:, 64:]], 1)  # the sign may differ from block to block
    assert float(checkerboard_distance(target + half, target)) == pytest.approx(0.01, rel=1e-4)
    wide = 0.1 * torch.cat([cell.repeat(64, 4), -cell.repeat(64, 4)], 1).repeat(1, 8)  # the sign turns every 8 px
    # One of the three grids repeats so.
    assert float(checkerboard_distance(target + wide, target)) == pytest.approx(0.01 / 3, rel=1e-3)
    patch = torch.zeros(128, 128)
    patch[32:48, 64:80] = board[32:48, 64:80]  # along an edge, say
    share = 16**2 / 128**2
    assert (
        float(checkerboard_distance(target + patch, target)) > 0.01 * share / 3
    )  # by the finest of three grids in full
    assert float(checkerboard_distance((target + board)[..., :30, :45], target[..., :30, :45])) == pytest.approx(
        0.01, rel=1e-4
    )


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


def test_window_scale_and_margin() -> None:
    generator = torch.Generator().manual_seed(0)
    assert draw_window(None, 32, 512, generator) is None and draw_window(8, 64, 64, generator) is None
    for _ in range(50):
        window = draw_window(12, 32, 512, generator)
        assert 0 <= window.top <= 20 and 0 <= window.left <= 20 and window.size == 12
    seen, drawn = torch.zeros(2, 32), 1000
    for _ in range(drawn):
        window = draw_window(12, 32, 512, generator)
        for axis, start in enumerate((window.top, window.left)):
            seen[axis, start : start + 12] += 1 / drawn
    # The border has its turn: of squares that begin anywhere it is in a twelfth as many as the middle.
    assert seen.min() > 0.3 * seen.max()
    assert valid_area(Window(32, 0, 4, 12), 512, 32) == Area(0, 32, 160, 128)
    assert valid_area(Window(32, 20, 20, 12), 512, 32) == Area(32, 32, 160, 160)
    assert valid_area(None, 512, 32) == Area(0, 0, 512, 512)


def test_windows_and_crops_around_eyes_and_mouth() -> None:
    generator = torch.Generator().manual_seed(0)
    assert draw_focus(0.0, generator) is None
    drawn = [draw_focus(0.5, generator) for _ in range(400)]
    found = [focus for focus in drawn if focus is not None]
    assert 150 < len(found) < 250
    left, right, _, *mouth = FFHQ_TEMPLATE / FFHQ_SIZE_PX
    for component, place in zip(COMPONENTS, (left, right, sum(mouth) / 2), strict=True):
        assert component == pytest.approx(tuple(place), abs=1e-3)
    near = [
        min(range(3), key=lambda index: abs(right - COMPONENTS[index][0]) + abs(down - COMPONENTS[index][1]))
        for right, down in found
    ]
    assert set(near) == {0, 1, 2}
    for (right, down), index in zip(found, near, strict=True):
        assert abs(right - COMPONENTS[index][0]) <= FOCUS_SHIFT and abs(down - COMPONENTS[index][1]) <= FOCUS_SHIFT
    image = torch.zeros(1, 3, 512, 512)
    for focus in found:
        window = draw_window(24, 64, 512, generator, focus)
        region = valid_area(window, 512, 16).within(window, 512)
        crop = random_area(region.crop(image), 128, generator, focus.within(region, 512))
        assert region.left + crop.left + 64 == pytest.approx(focus.right * 512, abs=24)
        assert region.top + crop.top + 64 == pytest.approx(focus.down * 512, abs=24)
    corner = Focus(0.01, 0.99)
    assert draw_window(24, 64, 512, generator, corner) == Window(64, 40, 0, 24)
    assert random_area(image, 128, generator, corner.within(Area(0, 0, 512, 512), 512)) == Area(384, 0, 128, 128)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"window.size": 12, "window.margin": 9, "losses.known_detail": 1.0},
            r"leaves 30 px .* need 61: .*or set losses.known_detail to 0",
        ),
        ({"window.size": 12, "window.margin": 9, "losses.texture": 1.0}, r"need 37: .*or set losses.texture to 0"),
        ({"window.size": 12, "window.margin": 9}, r"need 32: .*or train on whole pictures"),
        ({"window.size": 8, "window.margin": 0, "discriminator.size": 64}, r"leaves 32 px .* need 64: .*lower disc"),
        ({"losses.known_detail": 1.0}, r"need pictures of 61 px, these have 32: set losses.known_detail to 0"),
    ],
)
def test_losses_have_enough_to_look_at(changes: dict[str, object], message: str) -> None:
    windowed = settings({"window.scale": 16, **changes})
    with pytest.raises(ConfigError, match=message):
        check_window(windowed, 64 if windowed.window.size else 32)
    check_window(windowed, 512)
    if "known_weight" in changes:
        check_window(windowed.changed({"losses.known_detail": 0.0, "window.size": None}), 32)


def test_window_training_reaches_all_parts() -> None:
    made = trainer({"window.size": 12, "window.scale": 16, "window.margin": 4, "losses.adversarial": 0.0})
    made.step(*batch())
    for name, parameter in made.generator.named_parameters():
        assert parameter.grad is not None, name


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


def test_prior_distance_is_the_missed_share_of_the_variance() -> None:
    true = {8: torch.randn(4, 16, 8, 8)}
    latent = torch.randn(4, 32)
    assert prior_distance(true, true, latent, latent) == 0
    mean = {8: true[8].mean().expand_as(true[8])}
    torch.testing.assert_close(prior_distance(mean, true, latent, latent), torch.tensor(0.5), atol=0.01, rtol=0)


def test_averaged_weights_follow_slowly_and_buffers_at_once() -> None:
    made = trainer({"losses.adversarial": 0.0})
    start = [p.clone() for p in made.generator.parameters()]
    made.step(*batch())
    pairs = zip(start, made.averaged.network.parameters(), made.generator.parameters(), strict=True)
    for before, average, now in pairs:
        torch.testing.assert_close(average, torch.lerp(now.detach(), before, 2 / 11))
    for average, now in zip(made.averaged.network.buffers(), made.generator.buffers(), strict=True):
        assert torch.equal(average, now)


def test_training_begins_at_the_mean_latent_code() -> None:
    torch.manual_seed(0)
    latent = build_memgan(TINY).latent
    codes = latent.mapping(torch.randn(2000, TINY.style_dim))
    by_chance = latent(torch.randn(5, TINY.encoder_width(4), 4, 4))
    left = begin_at_mean_latent_(latent)
    begun = latent(torch.randn(5, TINY.encoder_width(4), 4, 4))

    def distance(found: torch.Tensor) -> float:
        return float((found - codes.mean(0)).detach().square().mean() / codes.var(0).mean().detach())

    assert distance(begun) < 0.5 * distance(by_chance)
    assert distance(begun) == pytest.approx(left, abs=0.1)
