"""The discriminator against a plain float64 reference, its statistics and its second derivatives."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.errors import ConfigError, ShapeError
from memgan.training.discriminators import Discriminator, minibatch_stddev


def small(size: int = 16) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(size, channel_base=64, channel_max=6)


def pictures(batch: int, size: int = 16, seed: int = 1) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def reference(net: Discriminator, x: Tensor) -> Tensor:
    """StyleGAN2's discriminator from its state dictionary."""
    state = {key: value.double() for key, value in net.state_dict().items()}

    def activate(y: Tensor) -> Tensor:
        return torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)

    def conv(y: Tensor, name: str, down: bool = False) -> Tensor:
        weight = state[f"{name}.weight"]
        side = weight.shape[-1]
        weight = weight / math.sqrt(weight.shape[1] * side**2)
        if down:
            total = 2 + side - 1
            y = F.pad(y, ((total + 1) // 2, total // 2) * 2)
            taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64)
            kernel = torch.outer(taps, taps) / 64
            y = torch.stack([F.conv2d(y[:, i : i + 1], kernel[None, None])[:, 0] for i in range(y.shape[1])], 1)
        y = F.conv2d(y, weight, padding=0 if down else side // 2)[:, :, :: 2 if down else 1, :: 2 if down else 1]
        return y + state[f"{name}.bias"][:, None, None] if f"{name}.bias" in state else y

    x = activate(conv(x, "from_rgb"))
    for i in range(len(net.blocks)):
        long = activate(conv(activate(conv(x, f"blocks.{i}.conv1")), f"blocks.{i}.conv2", down=True))
        x = (long + conv(x, f"blocks.{i}.skip", down=True)) / math.sqrt(2)
    x = activate(conv(minibatch_stddev(x), "conv")).flatten(1)
    for name, last in (("head.0", False), ("head.2", True)):
        weight = state[f"{name}.weight"]
        x = x @ weight.T / math.sqrt(weight.shape[1]) + state[f"{name}.bias"]
        x = x if last else activate(x)
    return x


@torch.no_grad()
@pytest.mark.parametrize("size", [8, 32])
def test_equals_the_reference(size):
    net, x = small(size).double(), pictures(4, size)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.3)
    logits = net(x)
    assert logits.shape == (4, 1)
    assert torch.allclose(logits, reference(net, x), atol=1e-12)


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128, 256, 512, 1024])
def test_every_size_can_be_built(size):
    with torch.device("meta"):
        assert Discriminator(size)(torch.empty(2, 3, size, size)).shape == (2, 1)


def test_the_full_size_has_as_many_parameters_as_stylegan2():
    with torch.device("meta"):
        assert sum(p.numel() for p in Discriminator(1024).parameters()) == 29_012_513


@pytest.mark.parametrize(("batch", "group"), [(1, 1), (2, 2), (4, 4), (5, 1), (6, 3), (8, 4)])
def test_minibatch_stddev_equals_a_naive_loop(batch, group):
    x = torch.randn(batch, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = minibatch_stddev(x)
    assert torch.equal(y[:, :3], x)
    count = batch // group
    for n in range(batch):
        members = [m for m in range(batch) if m % count == n % count]
        assert len(members) == group
        values = []
        for position in range(12):
            numbers = [float(x[m].flatten()[position]) for m in members]
            mean = sum(numbers) / group
            values.append(math.sqrt(sum((v - mean) ** 2 for v in numbers) / group + 1e-8))
        assert torch.allclose(y[n, 3], torch.full((2, 2), sum(values) / 12, dtype=torch.float64))


def test_samples_see_each_other_only_in_their_group():
    net, x = small().double(), pictures(8)
    changed = x.clone()
    changed[0] = -changed[0]
    moved = (net(changed) - net(x)).abs().flatten() > 1e-12
    assert moved.tolist() == [n % 2 == 0 for n in range(8)]


def test_r1_penalty_reaches_every_weight():
    net, x = small().double(), pictures(4).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    gradient.square().sum((1, 2, 3)).mean().backward()
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert float(parameter.grad.abs().max()) > 0, name


def test_it_learns_to_tell_two_kinds_of_pictures():
    net = small()
    adam = torch.optim.Adam(net.parameters(), lr=0.02, betas=(0.0, 0.99))
    real, fake = pictures(4, seed=1).float(), pictures(4, seed=2).float().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    losses = []
    for _ in range(30):
        loss = F.softplus(-net(real)).mean() + F.softplus(net(fake)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@torch.no_grad()
def test_autocast_stays_close_to_float32():
    net, x = small(), pictures(4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(x)
    assert torch.allclose(rough.float(), net(x), atol=0.1)


def test_wrong_pictures_and_numbers_are_errors():
    net = small()
    for shape in ((1, 3, 8, 8), (1, 1, 16, 16), (3, 16, 16), (0, 3, 16, 16)):
        with pytest.raises(ShapeError, match=r"\(B, 3, 16, 16\)"):
            net(torch.zeros(shape))
    for options in ({"image_size": 48}, {"channel_base": 100}, {"channel_max": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Discriminator(**options)
