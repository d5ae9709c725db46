"""Eq. 9 to 13, R1, and the feature networks with their weight files."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from memgan.errors import ConfigError, ShapeError, WeightsError, WeightsNotFoundError
from memgan.evaluation.networks.stlpips import STLPIPS
from memgan.training.build import make_discriminator
from memgan.training.config import TrainConfig, recipe
from memgan.training.losses.adversarial import discriminator_loss, generator_adversarial_loss, r1_penalty
from memgan.training.losses.feature_networks import (
    FeatureNetwork,
    StlpipsVgg,
    Vgg19,
    feature_network,
)
from memgan.training.losses.objective import LossNetworks, Objective, Pass, make_perceptual
from memgan.training.losses.perceptual import PerceptualLoss
from memgan.training.losses.pixel import l1_loss
from memgan.training.window import Area


class Slope(FeatureNetwork):
    """Two taps that can be worked out by hand: twice the picture, and its mean over colors."""

    default_weights = (0.5, 3.0)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [2 * image, image.mean(1, keepdim=True)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)  # random weights of the feature networks


def test_l1() -> None:
    a = torch.zeros(2, 3, 32, 32)
    b = a.clone()
    b[0] = 1
    assert l1_loss(a, b).item() == 0.5
    assert l1_loss(a.half(), b.half()).dtype == torch.float32


def test_l1_of_means_sees_colors_not_detail() -> None:
    flat = torch.zeros(1, 3, 64, 64)
    checks = flat.clone()
    checks[..., ::2, ::2], checks[..., 1::2, 1::2] = 1, -1
    assert l1_loss(checks, flat, levels=4).item() == pytest.approx(0.5 / 4)  # gone from the second level on
    assert l1_loss(flat + 0.25, flat, levels=4).item() == pytest.approx(0.25)
    assert l1_loss(flat + 0.25, flat, levels=20).item() == pytest.approx(0.25)  # as far as there is anything to halve


def test_l1_can_mind_the_finest_detail_less() -> None:
    flat = torch.zeros(1, 3, 64, 64)
    checks = torch.ones(64, 64)
    checks[::2, 1::2] = checks[1::2, ::2] = -1
    checks = checks.expand(1, 3, 64, 64) / 2
    blocks = torch.nn.functional.interpolate(checks[..., ::4, ::4] + 1, scale_factor=4)  # to be seen down to 4 px
    assert l1_loss(checks, flat, levels=4, finest=0.25).item() == pytest.approx(0.25 * 0.5 / 4)
    assert l1_loss(blocks, flat, levels=3, finest=0.0).item() == pytest.approx(blocks.mean().item() / 3)
    assert l1_loss(checks, flat, finest=0.5).item() == pytest.approx(0.25)


def test_perceptual_loss_is_the_weighted_l1_of_the_taps() -> None:
    a, b = torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5)
    assert PerceptualLoss(Slope())(a, b).item() == pytest.approx(0.5 * 1.0 + 3 * 0.5)


def test_unit_normalized_features_forget_their_scale() -> None:
    loss = PerceptualLoss(Slope(), unit_normalize=True)
    assert loss.weights == (0.5, 0.5)
    a = noise(1, 3, 32, 32).abs() + 0.5
    assert loss(a, a * 0.4).item() == pytest.approx(0, abs=2e-3)
    gray, red = torch.ones(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    red[:, 0] = 1
    # Root mean squares over three colors: 1, 1, 1 against sqrt(3), 0, 0.
    assert loss(red, gray).item() == pytest.approx(0.5 * (math.sqrt(3) - 1 + 2) / 3, abs=2e-3)


def test_only_the_first_taps_may_count() -> None:
    a, b = torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5)
    loss = PerceptualLoss(Slope(), taps=1)
    found, wanted = loss.features(a, b)
    assert len(found) == len(wanted) == 2
    assert loss(a, b).item() == loss.distance(found, wanted).item() == pytest.approx(0.5)


def test_calibrated_distance_is_that_of_the_metric() -> None:
    a, b = noise(2, 3, 48, 48), noise(2, 3, 48, 48, seed=1)
    loss = PerceptualLoss(feature_network("stlpips_vgg"))
    assert loss.calibrated_distance(*loss.features(a, b)).item() == pytest.approx(STLPIPS("vgg")(a, b).mean().item())
    assert loss.calibrated_distance(*loss.features(a, a)).item() == 0
    with pytest.raises(ConfigError, match="stlpips_vgg"):
        PerceptualLoss(Slope()).calibrated_distance(*PerceptualLoss(Slope()).features(a, b))


def test_adversarial_losses() -> None:
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])

    def mean_log(values: Tensor) -> float:
        return sum(math.log(1 + math.exp(value)) for value in values.tolist()) / 2

    assert generator_adversarial_loss(fake).item() == pytest.approx(mean_log(-fake))
    assert discriminator_loss(real, fake).item() == pytest.approx(mean_log(fake) + mean_log(-real))
    assert generator_adversarial_loss(torch.tensor([-1e4])).item() == pytest.approx(1e4)  # no overflow
    assert discriminator_loss(real.half(), fake.half()).dtype == torch.float32


def test_adversarial_losses_pull_apart() -> None:
    logits = torch.zeros(2, requires_grad=True)
    generator_adversarial_loss(logits).backward()
    assert (logits.grad < 0).all()  # the generator raises the logits of its pictures
    real, fake = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    discriminator_loss(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()


def test_r1_of_a_known_critic() -> None:
    real = noise(4, 3, 8, 8).requires_grad_()
    scale = nn.Parameter(torch.tensor(3.0))
    penalty = r1_penalty((scale * real).flatten(1).sum(1), real)
    assert penalty.item() == pytest.approx(9 * 3 * 8 * 8)  # squared norm of a gradient of threes, one picture
    penalty.backward()
    assert scale.grad.item() == pytest.approx(6 * 3 * 8 * 8)
    with pytest.raises(ConfigError, match="requires_grad_"):
        r1_penalty(real.sum(), real.detach())


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


@pytest.mark.parametrize(
    ("network", "widths", "sides"),
    [
        (lambda taps: Vgg19(None, taps), [64, 128, 256, 512, 512], [32, 16, 8, 4, 2]),
        (lambda taps: StlpipsVgg("random", taps), [64, 128, 256, 512, 512], [32, 17, 9, 5, 3]),
    ],
    ids=["vgg19", "stlpips_vgg"],
)
def test_feature_networks(network: type, widths: list[int], sides: list[int]) -> None:
    whole = network(5)
    taps = whole(noise(2, 3, 32, 32))
    assert [tuple(tap.shape) for tap in taps] == [(2, width, side, side) for width, side in zip(widths, sides)]
    assert len(whole.default_weights) == len(widths)
    short = network(2)
    assert len(short(noise(1, 3, 32, 40))) == len(short.default_weights) == 2
    assert not any(parameter.requires_grad for parameter in whole.parameters())
    assert not whole.train().training
    restored = noise(1, 3, 32, 32).requires_grad_()
    for unit_normalize in (False, True):
        loss = PerceptualLoss(short, unit_normalize=unit_normalize)(restored, noise(1, 3, 32, 32, seed=1))
        (gradient,) = torch.autograd.grad(loss, restored)
        assert loss.dtype == torch.float32 and gradient.isfinite().all() and gradient.abs().sum() > 0
        assert PerceptualLoss(short, unit_normalize=unit_normalize)(restored, restored).item() == 0


def test_vgg19_equals_torchvision_s(tmp_path: Path) -> None:
    from torchvision.models.vgg import cfgs, make_layers

    reference = make_layers(cfgs["E"]).eval()
    state = {f"features.{name}": value for name, value in reference.state_dict().items()}
    torch.save(state | {"classifier.0.bias": torch.zeros(1)}, tmp_path / "vgg19.pth")
    save_file({name: state[name] for name in list(state)[:8]}, tmp_path / "vgg19.safetensors")  # two stages
    image = noise(1, 3, 32, 32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    scaled = ((image + 1) / 2 - mean) / std
    for name, lasts in (("vgg19.pth", (2, 7, 16, 25, 34)), ("vgg19.safetensors", (2, 7))):  # conv1_2 ... conv5_4
        taps = feature_network("vgg19", tmp_path / name, len(lasts))(image)
        assert len(taps) == len(lasts)
        for tap, last in zip(taps, lasts):
            with torch.no_grad():
                assert (tap - reference[: last + 1](scaled)).abs().max() < 1e-5
    with pytest.raises(WeightsError, match="lacks tensors"):
        feature_network("vgg19", tmp_path / "vgg19.safetensors", 3)


def test_the_installed_trunk_prefers_like_pictures() -> None:
    loss = PerceptualLoss(feature_network("stlpips_vgg", num_taps=2))
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 48), indexing="ij")
    clean = torch.stack([torch.sin(30 * x), torch.cos(25 * y), torch.sin(20 * (x + y))])[None]
    blurred = [nn.functional.avg_pool2d(clean, k, 1, k // 2, count_include_pad=False) for k in (3, 9)]
    near, far = (loss(picture, clean).item() for picture in blurred)
    assert 0 < near < far


def test_bad_input_is_named(tmp_path: Path) -> None:
    loss = PerceptualLoss(Slope())
    picture = torch.zeros(1, 3, 32, 32)
    for function in (l1_loss, loss):
        with pytest.raises(ShapeError, match="needed"):
            function(picture, picture[..., 1:])
        with pytest.raises(ShapeError, match="32 px"):
            function(picture[..., 1:], picture[..., 1:])
    with pytest.raises(ConfigError, match="resnet"):
        feature_network("resnet")
    with pytest.raises(ConfigError, match="needs the path"):
        feature_network("vgg19")
    with pytest.raises(ConfigError, match="1 to 5"):
        feature_network("vgg19", tmp_path, 6)
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth"):
        feature_network("vgg19", tmp_path / "none.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(WeightsError, match="readable"):
            feature_network("vgg19", tmp_path / name)


def test_the_paired_loss_compares_each_face_with_its_own_truth() -> None:
    real, fake = torch.tensor([[3.0], [-1.0]]), torch.tensor([[1.0], [-2.0]])
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0))) / 2
    assert float(discriminator_loss(real, fake, paired=True)) == pytest.approx(expected, rel=1e-6)
    mirrored = (math.log1p(math.exp(2.0)) + math.log1p(math.exp(1.0))) / 2
    assert float(generator_adversarial_loss(fake, real)) == pytest.approx(mirrored, rel=1e-6)
    # What both of a pair have in common says nothing, unlike in Eq. 12.
    shift = torch.tensor([[5.0], [-7.0]])
    assert torch.allclose(
        discriminator_loss(real + shift, fake + shift, paired=True), discriminator_loss(real, fake, paired=True)
    )
    assert not torch.allclose(discriminator_loss(real + shift, fake + shift), discriminator_loss(real, fake))


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
    for settings, built in ((plain, 2), (judged, 5), (plain.changed({"losses.lpips": 1.0}), 5)):
        loss = make_perceptual(settings, None, cpu)
        assert len(loss.network.widths) == built and len(loss.weights) == 2
    judge = make_discriminator(judged, 512, LossNetworks(make_perceptual(judged, None, cpu)), cpu)
    assert judge.widths == (64, 128, 256, 512, 512)
