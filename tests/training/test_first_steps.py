"""The losses of three seeded steps by each recipe, made small, held to stored values."""

import functools
from pathlib import Path

import pytest
import torch
from fakes import Embedding, random_prior_faces
from tiny import write_faces

from memgan.evaluation.networks.efficientnet import EfficientNetLite
from memgan.network.model import build_memgan
from memgan.training.build import architecture, make_discriminator, make_stream
from memgan.training.config import TrainConfig, recipe
from memgan.training.data.clean_faces import FaceSet
from memgan.training.losses import deep_features
from memgan.training.losses.deep_features import DeepFeatureLoss
from memgan.training.losses.identity import IdentityLoss
from memgan.training.losses.objective import LossNetworks
from memgan.training.losses.perceptual import PerceptualLoss, StlpipsVgg, Vgg19
from memgan.training.step import Trainer

CPU = torch.device("cpu")
NARROW = {"channel_max": 16, "style_dim": 16, "latent_layers": 2, "memory_max_slots": 4}
MOBILE = {**NARROW, "channel_base": 1024}

CASES = {
    "mobile": recipe(
        "memgan-mobile-512",
        {
            "architecture": {**MOBILE, "image_size": 64, "encoder_channels": [16, 16, 12, 8, 8]},
            "run.batch_size": 2,
            "optimizer.warmup_steps": 2,
            "optimizer.prior_frozen_steps": 1,
            "losses.adversarial_from": 1,
            "losses.identity": 3.0,
        },
    ),
    "mobile, in windows": recipe(
        "memgan-mobile-512",
        {
            "architecture": {**MOBILE, "image_size": 128, "encoder_channels": [16, 16, 12, 8, 8, 4]},
            "run.batch_size": 2,
            "optimizer.warmup_steps": 0,
            "optimizer.prior_frozen_steps": 0,
            "data.synthetic_pool": 4,
            "losses.adversarial_from": 0,
            "losses.perceptual_size": 48,
            "losses.prior_match_scale": 16,
            "window.size": 12,
            "window.scale": 16,
            "window.margin": 4,
        },
    ),
    "paper": recipe(
        "memgan-512",
        {
            "architecture": {**NARROW, "image_size": 64, "channel_base": 512},
            "run.batch_size": 2,
            "discriminator.channel_base": 256,
            "discriminator.channel_max": 16,
        },
    ),
}

REFERENCE: dict[str, list[dict[str, float]]] = {
    "mobile": [
        {
            "lpips": 0.0197154,
            "gradient_norm": 75.7514,
            "checkerboard": 55.1117,
            "identity": 1.69873,
            "known_detail": 0.448495,
            "l1": 0.370268,
            "perceptual": 0.438075,
            "prior_match": 1.35309,
            "deep_feature": 0.510593,
            "texture": 2.99225,
        },
        {
            "adversarial": 0.680434,
            "lpips": 0.0108453,
            "discriminator": 0.708068,
            "gradient_norm": 126.727,
            "checkerboard": 5.29424,
            "identity": 1.70092,
            "known_detail": 0.16327,
            "l1": 0.246736,
            "perceptual": 0.235189,
            "prior_match": 1.4729,
            "deep_feature": 0.499255,
            "texture": 1.41929,
        },
        {
            "adversarial": 0.820021,
            "lpips": 0.00894552,
            "discriminator": 0.610081,
            "gradient_norm": 346.426,
            "checkerboard": 39.1967,
            "identity": 1.16686,
            "known_detail": 0.26193,
            "l1": 0.192857,
            "perceptual": 0.230989,
            "prior_match": 1.1783,
            "deep_feature": 0.506642,
            "texture": 1.73206,
        },
    ],
    "mobile, in windows": [
        {
            "adversarial": 0.688081,
            "lpips": 0.0228477,
            "discriminator": 0.699798,
            "gradient_norm": 13.1481,
            "checkerboard": 49.9925,
            "known_detail": 0.351102,
            "l1": 0.357872,
            "perceptual": 0.433248,
            "prior_match": 1.40586,
            "deep_feature": 0.337208,
            "texture": 2.41256,
        },
        {
            "adversarial": 0.789155,
            "lpips": 0.0199899,
            "discriminator": 0.618602,
            "gradient_norm": 8.15392,
            "checkerboard": 6.11444,
            "known_detail": 0.259109,
            "l1": 0.423399,
            "perceptual": 0.38658,
            "deep_feature": 0.336376,
            "texture": 1.64606,
        },
        {
            "adversarial": 0.885182,
            "lpips": 0.0132891,
            "discriminator": 0.571711,
            "gradient_norm": 14.6743,
            "checkerboard": 32.1403,
            "known_detail": 0.356137,
            "l1": 0.220196,
            "perceptual": 0.332052,
            "prior_match": 1.24777,
            "deep_feature": 0.406986,
            "texture": 2.08966,
        },
    ],
    "paper": [
        {
            "adversarial": 0.866899,
            "discriminator": 1.30095,
            "gradient_norm": 6.73043,
            "l1": 0.810149,
            "perceptual": 0.0466684,
            "r1": 9.78293e-05,
        },
        {
            "adversarial": 0.977225,
            "discriminator": 1.22835,
            "gradient_norm": 5.47217,
            "l1": 0.902198,
            "perceptual": 0.0498687,
        },
        {
            "adversarial": 45.6369,
            "discriminator": 0.758157,
            "gradient_norm": 1344.52,
            "l1": 60.338,
            "perceptual": 4.37806,
        },
    ],
}


def first_steps(config: TrainConfig, faces: Path) -> list[dict[str, float]]:
    """Losses of three steps; everything drawn is seeded anew where it is made."""
    built = architecture(config)
    size = built.image_size
    torch.manual_seed(1)
    generator = build_memgan(built)
    torch.manual_seed(2)
    losses = config.losses
    network = StlpipsVgg("random") if losses.perceptual_network == "stlpips_vgg" else Vgg19(None)
    perceptual = PerceptualLoss(network, unit_normalize=losses.perceptual_unit_normalize, taps=losses.perceptual_taps)
    torch.manual_seed(3)
    deep_feature = DeepFeatureLoss(EfficientNetLite(0, "random")) if losses.deep_feature else None
    identity = IdentityLoss(Embedding()) if losses.identity else None
    torch.manual_seed(4)
    prior = random_prior_faces(built) if config.data.synthetic else None
    features = None if prior is None else functools.partial(prior.features, up_to=losses.prior_match_scale)
    networks = LossNetworks(perceptual, identity, deep_feature, features)
    torch.manual_seed(5)
    discriminator = make_discriminator(config, size, networks, CPU)
    trainer = Trainer(config, generator, discriminator, networks)
    stream = make_stream(config, size, FaceSet([faces], size_px=size), prior, CPU, 6)
    trainer.initialize_memory(stream.batch(4).degraded)
    reports = []
    for step in range(3):
        trainer.set_rate(1.0, step / 10)
        report = trainer.step(*stream.batch(config.run.batch_size))
        reports.append({name: float(value) for name, value in sorted(report.items())})
    return reports


@pytest.mark.parametrize("case", list(CASES))
def test_the_losses_of_the_first_steps_are_as_stored(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep_features, "INPUT_PX", 64)  # 224 px take a minute on a CPU
    for found, expected in zip(first_steps(CASES[case], write_faces(tmp_path)), REFERENCE[case], strict=True):
        assert found.pop("skipped") == 0
        del found["loss"]  # the sum of the others, whose gradient is held
        assert found == pytest.approx(expected, rel=2e-3, abs=1e-6)
