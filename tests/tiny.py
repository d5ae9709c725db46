"""Tiny networks, weight files, faces and training settings that many tests share."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

from memgan import MemGAN, build_memgan, hub
from memgan.hub import weight_file as checkpoint
from memgan.network.config import PRESETS, MemGANConfig
from memgan.network.reliability import ReliabilityConfig, ReliabilityNet
from memgan.training.config import TrainConfig

TINY = MemGANConfig(
    name="tiny", image_size=32, channel_base=256, channel_max=8, style_dim=8, latent_layers=1, memory_max_slots=4
)


def save_tiny_weights(path: Path) -> Path:
    """Weights of a real network that is small, and moves pictures visibly."""
    torch.manual_seed(5)
    return hub.save(path, TINY, build_memgan(TINY).state_dict(), {"license": "none"})


TINY_MOBILE = MemGANConfig(
    name="tiny",
    family="mobile",
    image_size=64,
    channel_base=1024,
    channel_max=32,
    style_dim=32,
    latent_layers=2,
    encoder_channels=(32, 32, 24, 16, 16),
    fusion_conv="separable",
    memory_max_slots=8,
)


def register_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the preset ``tiny`` known."""
    monkeypatch.setitem(PRESETS, "tiny", TINY_MOBILE)


def settings(changes: Mapping[str, object] | None = None) -> TrainConfig:
    """A few quick steps of the preset ``tiny``, with changes by dotted name."""
    values = {
        "preset": "tiny",
        "run.steps": 4,
        "run.batch_size": 2,
        "optimizer.learning_rate": 1e-3,
        "optimizer.warmup_steps": 0,
        "optimizer.beta1": 0.9,
        "discriminator.channel_base": 256,
        "discriminator.r1_every": 2,
        "losses.perceptual": 0.0,
    }
    return TrainConfig().changed({**values, **(changes or {})})


def write_faces(folder: Path, count: int = 4, size: int = 64) -> Path:
    """Smooth colored shapes, one PNG each: something that a few hundred steps can learn."""
    folder.mkdir(parents=True, exist_ok=True)
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    for i in range(count):
        inside = ((xs / (0.5 + 0.05 * i)) ** 2 + (ys / 0.8) ** 2 < 1).float()
        eyes = ((xs.abs() - 0.2) ** 2 + (ys + 0.1) ** 2 < 0.01).float()
        rgb = torch.stack(
            [0.2 + 0.5 * inside - 0.4 * eyes, 0.3 + 0.3 * inside - 0.3 * eyes, 0.3 + 0.1 * i * (1 - inside)]
        )
        Image.fromarray((rgb.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return folder


FILE_CONFIG = MemGANConfig(name="tiny", image_size=16, channel_base=64, channel_max=8, style_dim=8, latent_layers=2)


def tiny_state() -> dict[str, torch.Tensor]:
    """Tensors of several kinds; no network has them."""
    generator = torch.Generator().manual_seed(0)
    return {
        "convolution.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "convolution.bias": torch.randn(4, generator=generator),
        "memory.count": torch.arange(5),
    }


def write_tiny_file(folder: Path) -> Path:
    """Write ``tiny.safetensors`` into ``folder``."""
    return checkpoint.save(folder / "tiny.safetensors", FILE_CONFIG, tiny_state(), {"license": "none", "steps": "3"})


FAST_CONFIG = MemGANConfig(
    name="small",
    family="mobile",
    image_size=32,
    channel_base=256,
    channel_max=16,
    style_dim=16,
    latent_layers=2,
    encoder_channels=(12, 12, 8, 6),
    encoder_blocks=(0, 1, 2, 0),
    fusion_conv="separable",
    memory_max_slots=5,
)


def trained(config: MemGANConfig = FAST_CONFIG) -> MemGAN:
    """A network with no number at a starting value that would hide a mistake: ones, zeros, constants."""
    torch.manual_seed(1)
    network = build_memgan(config)
    with torch.no_grad():
        for name, tensor in network.decoder.state_dict().items():
            tensor.add_(torch.randn_like(tensor) * (0.02 if name.endswith("style.weight") else 0.2))
        if network.conditioning is not None:
            network.conditioning.leave.weight.normal_(std=0.1)
            network.conditioning.leave.bias.normal_(std=0.3)
    return network.eval()


FAITHFUL_CONFIG = dataclasses.replace(FAST_CONFIG, name="small-faithful")


def faithful_state() -> dict[str, torch.Tensor]:
    """The state of ``trained()`` trained further, so to say: all but the memory moved."""
    torch.manual_seed(3)
    state = trained().state_dict()
    return {n: t if n.startswith("memory.") else t + 0.1 * torch.randn_like(t) for n, t in state.items()}


ESTIMATOR_CONFIG = ReliabilityConfig(name="small-reliability", image_size=32, stem_channels=4, channels=8)


def estimator() -> ReliabilityNet:
    """An estimator of which every number counts: none is at a starting value, and the calibration changes something."""
    torch.manual_seed(4)
    network = ReliabilityNet(ESTIMATOR_CONFIG)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in network.calibration.named_buffers():
            buffer.add_(0.0 if "knots" in name else 0.05 * torch.rand_like(buffer))
    return network.eval()


def register_small(home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Register the weights ``small``, with a faithful partner and an estimator; their three files in the cache."""
    monkeypatch.setenv("MEMGAN_HOME", str(home))
    vivid = hub.save(home / "small.safetensors", FAST_CONFIG, trained().state_dict(), half=True)
    faithful = hub.save(home / "small-faithful.safetensors", FAITHFUL_CONFIG, faithful_state(), half=True)
    path = home / f"{ESTIMATOR_CONFIG.name}.safetensors"
    digests = {file.stem: hub.sha256_of(file) for file in (vivid, faithful)}
    network = estimator()
    hub.save_reliability(path, network.config, network.state_dict(), digests, {"license": "none"}, half=True)
    for file, further in (
        (vivid, {"faithful": faithful.stem, "reliability": path.stem}),
        (faithful, {}),
        (path, {"kind": "reliability"}),
    ):
        spec = hub.WeightSpec(file.stem, file.name, hub.sha256_of(file), "none", **further)
        monkeypatch.setitem(hub.REGISTRY, file.stem, spec)
    return vivid, faithful, path


def random_faces(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
