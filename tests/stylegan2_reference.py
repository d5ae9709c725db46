"""A tiny random StyleGAN2 generator under two projects' names, and what it draws, computed the slow way."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DIM = 8
WIDTHS = {4: 6, 8: 6, 16: 6, 32: 4, 64: 2}  # channel_base=128, channel_max=6


def rosinality(seed: int = 0) -> dict[str, Tensor]:
    """A 64 px generator as rosinality names it, all numbers random, biases and noise strengths too."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def modulated(name: str, fan_in: int, fan_out: int, side: int) -> dict[str, Tensor]:
        return {
            f"{name}.conv.weight": draw(1, fan_out, fan_in, side, side),
            f"{name}.conv.modulation.weight": draw(fan_in, DIM),
            f"{name}.conv.modulation.bias": 1 + 0.1 * draw(fan_in),
        }

    def styled(name: str, fan_in: int, fan_out: int) -> dict[str, Tensor]:
        extra = {f"{name}.noise.weight": 0.3 * draw(1), f"{name}.activate.bias": 0.3 * draw(fan_out)}
        return modulated(name, fan_in, fan_out, 3) | extra

    def rgb(name: str, fan_in: int) -> dict[str, Tensor]:
        return modulated(name, fan_in, 3, 1) | {f"{name}.bias": 0.3 * draw(1, 3, 1, 1)}

    taps = torch.tensor([1.0, 3, 3, 1])
    kernel = torch.outer(taps, taps) / 16  # with the gain of up-sampling, as the checkpoints have it
    state = (
        {"input.input": draw(1, WIDTHS[4], 4, 4)} | styled("conv1", WIDTHS[4], WIDTHS[4]) | rgb("to_rgb1", WIDTHS[4])
    )
    state["noises.noise_0"] = draw(1, 1, 4, 4)
    for i, side in enumerate((8, 16, 32, 64)):
        state |= styled(f"convs.{2 * i}", WIDTHS[side // 2], WIDTHS[side])
        state |= styled(f"convs.{2 * i + 1}", WIDTHS[side], WIDTHS[side]) | rgb(f"to_rgbs.{i}", WIDTHS[side])
        state[f"convs.{2 * i}.conv.blur.kernel"] = state[f"to_rgbs.{i}.upsample.kernel"] = kernel
        for j in (1, 2):
            state[f"noises.noise_{2 * i + j}"] = draw(1, 1, side, side)
    for i in range(3):
        state[f"style.{i + 1}.weight"] = draw(DIM, DIM) * 100
        state[f"style.{i + 1}.bias"] = draw(DIM) * 30
    return state


def basicsr(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same generator as BasicSR names it."""
    out = {}
    for key, value in state.items():
        if key.endswith("kernel"):
            continue  # plain attributes there
        head, _, rest = key.partition(".")
        head = {"input": "constant_input", "conv1": "style_conv1", "convs": "style_convs", "style": "style_mlp"}.get(
            head, head
        )
        rest = rest.replace("conv.", "modulated_conv.").replace("noise.weight", "weight").replace("noise_", "noise")
        out[f"{head}.{'weight' if rest == 'input' else rest}"] = value
    return out


def reference_w(state: dict[str, Tensor], z: Tensor) -> Tensor:
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in (1, 2, 3):
        y = (
            x @ state[f"style.{i}.weight"].double().T * (0.01 / math.sqrt(DIM))
            + state[f"style.{i}.bias"].double() * 0.01
        )
        x = torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)
    return x


def reference_picture(state: dict[str, Tensor], w: Tensor, size: int) -> Tensor:
    """StyleGAN2 in float64, one sample at a time with its own weights; up-sampling by explicit zero insertion."""
    state = {key: value.double() for key, value in state.items()}
    taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64)
    kernel = torch.outer(taps, taps)[None, None] / 16

    def fir(x: Tensor, pad: tuple[int, int]) -> Tensor:
        return F.conv2d(F.pad(x, pad * 2).transpose(0, 1), kernel).transpose(0, 1)

    def conv(x: Tensor, name: str, code: Tensor, *, up: bool = False, demodulate: bool = True) -> Tensor:
        weight = state[f"{name}.conv.weight"][0]
        style = (
            code @ state[f"{name}.conv.modulation.weight"].T / math.sqrt(DIM) + state[f"{name}.conv.modulation.bias"]
        )
        weight = weight / math.sqrt(weight[0].numel()) * style[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if not up:
            return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        sparse = x.new_zeros(1, x.shape[1], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1)
        sparse[:, :, ::2, ::2] = x
        return fir(F.conv2d(sparse, weight.flip(2, 3), padding=2), (1, 1))

    def styled(x: Tensor, name: str, index: int, code: Tensor, *, up: bool = False) -> Tensor:
        y = conv(x, name, code, up=up) + state[f"{name}.noise.weight"] * state[f"noises.noise_{index}"]
        y = y + state[f"{name}.activate.bias"][None, :, None, None]
        return torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)

    pictures = []
    for code in w:
        x = styled(state["input.input"], "conv1", 0, code)
        rgb = conv(x, "to_rgb1", code, demodulate=False) + state["to_rgb1.bias"]
        for i in range(int(math.log2(size)) - 2):
            x = styled(x, f"convs.{2 * i}", 2 * i + 1, code, up=True)
            x = styled(x, f"convs.{2 * i + 1}", 2 * i + 2, code)
            sparse = rgb.new_zeros(1, 3, 2 * rgb.shape[2], 2 * rgb.shape[3])
            sparse[:, :, ::2, ::2] = rgb
            name = f"to_rgbs.{i}"
            rgb = fir(sparse, (2, 1)) + conv(x, name, code, demodulate=False) + state[f"{name}.bias"]
        pictures.append(rgb)
    return torch.cat(pictures)
