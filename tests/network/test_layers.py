"""Resampling and modulated convolution against slow float64 references that share no code with them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from memgan.network import layers
from memgan.network.layers import EqualConv2d, EqualLinear

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0


def upfirdn(x: np.ndarray, *, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0):
    """Insert zeros, pad, convolve with the 4x4 kernel, keep every ``down``-th sample; one pixel at a time."""
    channels, height, width = x.shape
    zeros = np.zeros((channels, height * up, width * up))
    for i in range(height):
        for j in range(width):
            zeros[:, i * up, j * up] = x[:, i, j]
    padded = np.pad(zeros, ((0, 0), pad, pad))
    rows, columns = padded.shape[1] - 3, padded.shape[2] - 3
    full = np.zeros((channels, rows, columns))
    for i in range(rows):
        for j in range(columns):
            full[:, i, j] = (padded[:, i : i + 4, j : j + 4] * FIR[::-1, ::-1] * gain).sum((1, 2))
    return full[:, ::down, ::down]


def correlate(x: np.ndarray, weight: np.ndarray, pad: int) -> np.ndarray:
    side = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    rows, columns = padded.shape[1] - side + 1, padded.shape[2] - side + 1
    out = np.zeros((weight.shape[0], rows, columns))
    for i in range(rows):
        for j in range(columns):
            out[:, i, j] = np.einsum("oiab,iab->o", weight, padded[:, i : i + side, j : j + side])
    return out


def spread(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Every input pixel stamps the kernel on a grid of twice the pitch."""
    _, height, width = x.shape
    out = np.zeros((weight.shape[0], 2 * height + 1, 2 * width + 1))
    for i in range(height):
        for j in range(width):
            out[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.einsum("oiab,i->oab", weight, x[:, i, j])
    return out


def modulated(x: np.ndarray, weight: np.ndarray, style: np.ndarray, demodulate: bool, up: bool) -> np.ndarray:
    """Per-sample weights, as the StyleGAN2 paper writes them."""
    out = []
    for sample, scales in zip(x, style, strict=True):
        own = weight * scales[None, :, None, None]
        if demodulate:
            own = own / np.sqrt((own**2).sum((1, 2, 3), keepdims=True) + 1e-8)
        if up:
            out.append(upfirdn(spread(sample, own), pad=(1, 1), gain=4))
        else:
            out.append(correlate(sample, own, weight.shape[-1] // 2))
    return np.stack(out)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_near(actual: Tensor, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    assert tuple(actual.shape) == expected.shape
    assert np.abs(actual.detach().double().numpy() - expected).max() <= tolerance


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 3)])
def test_upsample_is_zero_insertion_and_fir(size):
    x = draw(2, 3, *size)
    expected = np.stack([upfirdn(sample, up=2, pad=(2, 1), gain=4) for sample in x.numpy()])
    assert_near(layers.upsample_2x(x), expected)


@pytest.mark.parametrize("size", [(4, 4), (6, 10), (2, 2)])
def test_downsample_is_fir_and_subsampling(size):
    x = draw(2, 3, *size)
    assert_near(
        layers.fir_filter(x, 1, stride=2), np.stack([upfirdn(sample, down=2, pad=(1, 1)) for sample in x.numpy()])
    )


def test_a_constant_survives_resampling_inside():
    flat = torch.full((1, 1, 16, 16), 2.0)
    assert torch.equal(layers.upsample_2x(flat)[..., 2:-2, 2:-2], torch.full((1, 1, 28, 28), 2.0))
    assert torch.equal(layers.fir_filter(flat, 1, stride=2)[..., 1:-1, 1:-1], torch.full((1, 1, 6, 6), 2.0))


def test_conv_up_matches_the_reference():
    x, weight = draw(2, 3, 4, 5), draw(6, 3, 3, 3, seed=1)
    expected = np.stack([upfirdn(spread(sample, weight.numpy()), pad=(1, 1), gain=4) for sample in x.numpy()])
    assert_near(layers.conv2d_up(x, weight), expected, 1e-11)


@pytest.mark.parametrize(("side", "pad"), [(3, 2), (1, 1)])
def test_conv_down_matches_the_reference(side, pad):
    x, weight, bias = draw(2, 3, 6, 8), draw(4, 3, side, side, seed=1), draw(4, seed=2)
    expected = np.stack(
        [
            correlate(upfirdn(sample, pad=(pad, pad)), weight.numpy(), 0)[:, ::2, ::2] + bias.numpy()[:, None, None]
            for sample in x.numpy()
        ]
    )
    assert_near(layers.conv2d_down(x, weight, bias), expected)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize(("side", "up"), [(3, False), (3, True), (1, False)])
def test_modulated_conv_equals_per_sample_weights(side, up, demodulate):
    x, weight, style = draw(3, 5, 4, 6), draw(7, 5, side, side, seed=1), draw(3, 5, seed=2)
    expected = modulated(x.numpy(), weight.numpy(), style.numpy(), demodulate, up)
    assert_near(layers.modulated_conv2d(x, weight, style, demodulate=demodulate, up=up), expected, 1e-11)
    single = layers.modulated_conv2d(x.float(), weight.float(), style.float(), demodulate=demodulate, up=up)
    assert_near(single, expected, 2e-6 * float(np.abs(expected).max()))


@pytest.mark.parametrize("factor", [1e-3, 1e-6])
def test_the_demodulation_constant_is_that_of_the_paper(factor):
    """With a tiny style the 1e-8 under the root decides the result."""
    x, weight, style = draw(2, 3, 4, 4), draw(4, 3, 3, 3, seed=1) * 0.1, draw(2, 3, seed=2) * factor
    expected = modulated(x.numpy(), weight.numpy(), style.numpy(), True, False)
    assert_near(layers.modulated_conv2d(x, weight, style), expected)


def test_a_zero_style_gives_zeros():
    out = layers.modulated_conv2d(draw(1, 3, 4, 4), draw(4, 3, 3, 3), torch.zeros(1, 3, dtype=torch.float64))
    assert torch.equal(out, torch.zeros_like(out))


def test_modulated_conv_has_the_gradient_of_per_sample_weights():
    x, weight, style = (t.requires_grad_() for t in (draw(2, 2, 3, 3), draw(3, 2, 3, 3, seed=1), draw(2, 2, seed=2)))
    for up in (False, True):
        assert torch.autograd.gradcheck(lambda *a, up=up: layers.modulated_conv2d(*a, up=up), (x, weight, style))


def test_resampling_can_be_differentiated_twice():
    x, weight = draw(1, 2, 4, 4).requires_grad_(), draw(2, 2, 3, 3, seed=1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda a, b: layers.conv2d_down(a, b).square(), (x, weight))
    assert torch.autograd.gradgradcheck(lambda a: layers.upsample_2x(a).square(), (x,))


def test_demodulation_stays_finite_in_half_precision():
    x, weight, style = draw(1, 64, 8, 8) * 200, draw(8, 64, 3, 3, seed=1) / 24, draw(1, 64, seed=2) * 3000
    half = layers.modulated_conv2d(x.half(), weight.half(), style.float())
    exact = layers.modulated_conv2d(x, weight, style)
    assert half.dtype == torch.float16
    assert float((half.double() - exact).abs().max() / exact.abs().max()) < 1e-2


def test_autocast_computes_the_norm_in_float32():
    x, weight, style = draw(2, 32, 8, 8).float(), draw(8, 32, 3, 3, seed=1).float(), draw(2, 32, seed=2).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layers.modulated_conv2d(x, weight, style, up=True)
    exact = layers.modulated_conv2d(x, weight, style, up=True)
    assert half.dtype == torch.bfloat16
    assert float((half.float() - exact).abs().max() / exact.abs().max()) < 2e-2


def test_scaled_leaky_relu_and_pixel_norm():
    x = draw(4, 512)
    assert_near(layers.scaled_leaky_relu(x), np.where(x > 0, x, 0.2 * x) * np.sqrt(2))
    assert_near(layers.pixel_norm(x), x.numpy() / np.sqrt((x.numpy() ** 2).mean(1, keepdims=True) + 1e-8))
    assert layers.pixel_norm(x.half() * 1000).isfinite().all()


def test_equalized_layers_scale_by_fan_in():
    torch.manual_seed(0)
    linear = EqualLinear(6, 4, bias_init=0.5).double()
    x = draw(3, 6)
    assert_near(linear(x), x.numpy() @ linear.weight.detach().numpy().T / np.sqrt(6) + 0.5, 1e-7)
    assert 0.3 < float(linear.weight.detach().std()) < 3
    conv = EqualConv2d(3, 5, 3).double()
    image = draw(1, 3, 5, 5)
    assert_near(conv(image), correlate(image[0].numpy(), conv.weight.detach().numpy() / np.sqrt(27), 1)[None])
    assert EqualConv2d(3, 5, 3, down=True)(torch.zeros(1, 3, 8, 6)).shape == (1, 5, 4, 3)
