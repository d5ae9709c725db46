"""The StyleGAN2 synthesis network: interface, noise, windows. Its numbers are checked in test_priors.py."""

import pytest
import torch
from torch import Tensor

from memgan.errors import ShapeError
from memgan.network.config import MemGANConfig
from memgan.network.stylegan2 import StyleGAN2Synthesis

CONFIG = MemGANConfig(image_size=32, channel_base=128, channel_max=6, style_dim=8, latent_layers=2)


@pytest.fixture(scope="module")
def synthesis() -> StyleGAN2Synthesis:
    torch.manual_seed(0)
    net = StyleGAN2Synthesis(CONFIG).double().eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.3)
    return net


@pytest.fixture(scope="module")
def w() -> Tensor:
    return torch.randn(2, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@torch.no_grad()
def test_widths_and_sides_follow_the_configuration(synthesis, w):
    x, rgb = synthesis.start(w)
    assert x.shape == (2, CONFIG.channels(4), 4, 4)
    assert rgb.shape == (2, 3, 4, 4)
    assert len(synthesis.blocks) == len(CONFIG.scales) - 1
    for scale, block in zip(CONFIG.scales[1:], synthesis.blocks, strict=True):
        x = block.first(x, w)
        assert x.shape == (2, CONFIG.channels(scale), scale, scale)
        x = block.second(x, w)
        assert x.shape == (2, CONFIG.channels(scale), scale, scale)
        rgb = block.to_rgb(x, rgb, w)
        assert rgb.shape == (2, 3, scale, scale)
    assert torch.equal(rgb, synthesis(w))


def test_the_full_size_has_as_many_parameters_as_stylegan2():
    """Configuration F at 1024 px has 30,370,060 trainable numbers, mapping (2,101,248) included."""
    with torch.device("meta"):
        net = StyleGAN2Synthesis(MemGANConfig(image_size=1024))
    assert sum(p.numel() for p in net.parameters()) == 30_370_060 - 8 * (512 * 512 + 512)


@torch.no_grad()
def test_a_batch_equals_its_samples(synthesis, w):
    assert torch.allclose(synthesis(w), torch.cat([synthesis(w[:1]), synthesis(w[1:])]), atol=1e-12)


def test_stored_noise_does_not_depend_on_the_global_seed():
    torch.manual_seed(1)
    one = StyleGAN2Synthesis(CONFIG)
    torch.manual_seed(2)
    two = StyleGAN2Synthesis(CONFIG)
    maps = {k: v for k, v in one.named_buffers() if k.endswith("noise")}
    assert len(maps) == 2 * len(CONFIG.scales) - 1
    for key, value in two.named_buffers():
        assert torch.equal(maps[key], value)
    sums = {round(float(value.double().sum()), 6) for value in maps.values()}
    assert len(sums) == len(maps), "every layer has its own map"


@torch.no_grad()
def test_noise_enters_with_its_strength(synthesis, w):
    """On zero features the layer is its noise map times the strength, activated."""
    layer = synthesis.blocks[0].conv2
    x = torch.zeros(1, 6, 8, 8, dtype=torch.float64)
    noisy = layer(x, w[:1])
    before = (0.3 * layer.noise + layer.bias[None, :, None, None]).expand_as(noisy)
    assert torch.allclose(noisy, torch.where(before > 0, before, 0.2 * before) * 2**0.5, atol=1e-12)


@torch.no_grad()
def test_a_window_equals_the_crop_away_from_its_border(synthesis, w):
    block = synthesis.blocks[2]
    low = torch.randn(2, 6, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    full = block.first(low, w)
    top, left, side = 6, 4, 8
    corner = (2 * top, 2 * left)
    part = block.first(low[..., top : top + side, left : left + side], w, corner)
    assert part.shape == (2, 4, 16, 16)
    crop = full[..., 12:28, 8:24]
    difference = (part - crop).abs().amax((0, 1))
    assert float(difference[2:-2, 2:-2].max()) < 1e-12
    assert float(difference.max()) > 1e-3, "the border must differ, or the test proves nothing"
    second = block.second(full, w)[..., 12:28, 8:24]
    part = block.second(crop, w, corner)
    difference = (part - second).abs().amax((0, 1))
    assert float(difference[1:-1, 1:-1].max()) < 1e-12


@torch.no_grad()
def test_a_misplaced_window_is_an_error(synthesis, w):
    layer = synthesis.blocks[1].conv2
    x = torch.zeros(1, 6, 8, 8, dtype=torch.float64)
    for corner in ((9, 0), (0, -1), None):
        with pytest.raises(ShapeError, match=r"16 px.*8x8"):
            layer(x, w[:1], corner)
    assert layer(x, w[:1], (8, 8)).shape == x.shape


@torch.no_grad()
def test_autocast_stays_close_to_float32(w):
    torch.manual_seed(0)
    net = StyleGAN2Synthesis(CONFIG)
    exact = net(w.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(w.float())
    assert float((rough.float() - exact).abs().mean() / exact.abs().mean()) < 0.05


def test_every_parameter_gets_a_gradient(w):
    torch.manual_seed(0)
    net = StyleGAN2Synthesis(CONFIG)
    net(w.float()).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name
