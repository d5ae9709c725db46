"""The sum of the losses, and what is built for it."""

import pytest
import torch
from fakes import OneConvolution, Slope, noise, random_prior_faces
from tiny import settings

from memgan.errors import ConfigError
from memgan.training.build import make_discriminator
from memgan.training.config import TrainConfig, recipe
from memgan.training.losses.adversarial import generator_adversarial_loss
from memgan.training.losses.objective import LossNetworks, Objective, Pass, check_window, make_perceptual, make_terms
from memgan.training.losses.perceptual import PerceptualLoss
from memgan.training.losses.pixel import l1_loss
from memgan.training.window import Area


def test_the_objective_adds_the_weighted_terms() -> None:
    restored, target = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
    logits, perceptual = torch.tensor([0.3]), PerceptualLoss(Slope())
    run = Pass(target, target, Area(0, 0, 32, 32), restored, {}, torch.zeros(1, 4), None)
    objective = Objective(TrainConfig(), LossNetworks(perceptual), torch.Generator())
    total, report = objective(objective.look(run)._replace(fake_logits=logits))
    assert report["l1"].item() == pytest.approx(l1_loss(restored, target).item())
    assert report["perceptual"].item() == pytest.approx(perceptual(restored, target).item())
    assert report["adversarial"].item() == pytest.approx(generator_adversarial_loss(logits).item())
    expected = 0.1 * report["l1"] + 1.0 * report["perceptual"] + 0.1 * report["adversarial"]
    assert total.item() == report["loss"].item() == pytest.approx(expected.item())
    _, bare = Objective(TrainConfig().changed({"losses.l1": 2}), LossNetworks(), torch.Generator())(run)
    assert set(bare) == {"loss", "l1"} and bare["loss"].item() == pytest.approx(2 * bare["l1"].item())


def test_distances_are_compiled_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function.__name__) or function)
    cpu, config = torch.device("cpu"), recipe("memgan-mobile-512")
    assert make_perceptual(config, None, cpu) is not None and not compiled
    make_perceptual(config.changed({"run.compile": True}), None, cpu)
    assert len(compiled) == 3 and compiled[1:] == ["distance", "calibrated_distance"]  # and the network


def test_only_what_the_losses_look_at_is_built() -> None:
    cpu, config = torch.device("cpu"), recipe("memgan-mobile-512", {"losses.perceptual_taps": 2, "losses.lpips": 0.0})
    judged = config.changed({"discriminator.deep_features": False})
    plain = judged.changed({"discriminator.kind": "picture"})
    assert make_perceptual(plain.changed({"losses.perceptual": 0.0}), None, cpu) is None
    for config, built in ((plain, 2), (judged, 5), (plain.changed({"losses.lpips": 1.0}), 5)):
        loss = make_perceptual(config, None, cpu)
        assert len(loss.network.widths) == built and len(loss.weights) == 2
    judge = make_discriminator(judged, 512, LossNetworks(make_perceptual(judged, None, cpu)), cpu)
    assert judge.widths == (64, 128, 256, 512, 512)


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


def test_every_weight_has_its_term_and_zero_builds_none() -> None:
    networks = LossNetworks(PerceptualLoss(OneConvolution()), prior_features=random_prior_faces().features)  # type: ignore[arg-type]
    weights = ("l1", "rms", "perceptual", "adversarial", "checkerboard", "known_detail", "texture", "prior_match")
    ones = TrainConfig().changed({"data.synthetic": 1.0, **{f"losses.{name}": 1.0 for name in weights}})
    assert set(make_terms(ones.losses, networks, None)) == set(weights)  # type: ignore[arg-type]
    none = ones.changed({f"losses.{name}": 0.0 for name in weights})
    assert not make_terms(none.losses, networks, None)  # type: ignore[arg-type]
