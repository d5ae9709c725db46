"""Reads public StyleGAN2 generators: rosinality's ``g_ema`` and BasicSR's ``params_ema`` checkpoints."""

import argparse
import dataclasses
import math
import re
from pathlib import Path

import torch
from torch import Tensor

from memgan.errors import StateMismatchError, WeightsError
from memgan.hub.tensor_file import read_checkpoint

_MAPPING_LR = 0.01
"""Learning rate multiplier of the mapping network in all public checkpoints; it scales the stored numbers."""
_CONTAINERS = ("g_ema", "params_ema", "params")
_REMEDY = "Give a StyleGAN2 generator checkpoint of rosinality's stylegan2-pytorch (g_ema) or of BasicSR (params_ema)."


_BASICSR = (
    (r"^constant_input\.weight$", "input.input"),
    (r"^style_(conv1|convs\.\d+)\.weight$", r"\1.noise.weight"),
    (r"^style_(conv1|convs)\b", r"\1"),
    (r"^style_mlp\b", "style"),
    (r"\bmodulated_conv\b", "conv"),
    (r"^noises\.noise(\d+)$", r"noises.noise_\1"),
)
"""BasicSR's names of the parts, and rosinality's, which the reader knows."""


def read_stylegan2(path: str | Path, *, max_size: int = 512) -> dict[str, Tensor]:
    """Read a generator from a ``.pt``/``.pth`` checkpoint, with torch's restricted unpickler, or from ``.safetensors``.

    Args:
        path: the file.
        max_size: side in pixels above which levels are left out. The remaining levels still draw a whole picture,
            because every level of StyleGAN2 adds to it.

    Returns:
        Float32 tensors: ``synthesis.*``, a strict state of :class:`memgan.network.stylegan2.StyleGAN2Synthesis`, and
        ``mapping.{i}.weight`` (D, D), ``mapping.{i}.bias`` (1, D), plain weights with the equalized learning rate and
        its multiplier folded in (pixel norm first; a leaky ReLU of slope 0.2 and gain sqrt(2) follows each layer).

    Raises:
        WeightsNotFoundError, WeightsError: if it is missing, unreadable or no such checkpoint.
        StateMismatchError: if layers are missing or have unexpected shapes.
    """
    # Training checkpoints of rosinality carry their command line: a plain container of values.
    content = read_checkpoint(path, also_allowed=[argparse.Namespace], remedy=_REMEDY)
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__} instead of a dictionary. {_REMEDY}")
    state = next((content[name] for name in _CONTAINERS if isinstance(content.get(name), dict)), content)
    state = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not state:
        raise WeightsError(f"{path} holds {[str(key) for key in content][:8]}, but no generator. {_REMEDY}")
    return convert_stylegan2(state, max_size=max_size, title=str(path))


def convert_stylegan2(state: dict[str, Tensor], *, max_size: int = 512, title: str = "The state") -> dict[str, Tensor]:
    """The same for a generator's state dictionary already in memory; ``title`` names it in errors."""
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if "constant_input.weight" in state:
        for pattern, name in _BASICSR:
            state = {re.sub(pattern, name, key): value for key, value in state.items()}
    if "input.input" not in state:
        raise WeightsError(f"{title} holds tensors such as {sorted(state)[:4]}, of no known generator. {_REMEDY}")
    return _Converter(state, title).convert(max_size)


@dataclasses.dataclass
class _Converter:
    """Renames one generator, checking every shape on the way."""

    state: dict[str, Tensor]
    title: str

    def convert(self, max_size: int) -> dict[str, Tensor]:
        levels = 0
        while f"to_rgbs.{levels}.bias" in self.state:
            levels += 1
        kept = min(levels, int(math.log2(max_size)) - 2)
        if kept < 1:
            raise StateMismatchError(f"{self.title} has {levels} levels above 4 px; at least 1 is needed. {_REMEDY}")
        self._check_filter()
        const = self._take("input.input", (1, None, 4, 4))
        width = const.shape[1]
        style_dim = self._take("style.1.weight", (None, None)).shape[0]
        out = {"synthesis.const": const}
        out |= self._styled("conv", "conv1", 0, 4, width, style_dim)
        out |= self._rgb("rgb", "to_rgb1", width, style_dim)
        for i in range(kept):
            for j in (0, 1):
                name, number = f"blocks.{i}.conv{j + 1}", 2 * i + j
                out |= self._styled(name, f"convs.{number}", number + 1, 8 << i, width, style_dim)
                width = out[f"synthesis.{name}.bias"].shape[0]
            out |= self._rgb(f"blocks.{i}.rgb", f"to_rgbs.{i}", width, style_dim)
        return out | self._mapping(style_dim)

    def _take(self, key: str, shape: tuple[int | None, ...]) -> Tensor:
        """The tensor ``key`` as float32; ``None`` in ``shape`` allows any side."""
        value = self.state.get(key)
        if value is None:
            raise StateMismatchError(f"{self.title} has no tensor {key!r}: a layer is missing. {_REMEDY}")
        if value.dim() != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, value.shape, strict=True)
        ):
            wanted = "x".join("?" if side is None else str(side) for side in shape)
            raise StateMismatchError(
                f"{self.title}: {key!r} has the shape {tuple(value.shape)}; needed: {wanted}. {_REMEDY}"
            )
        return value.detach().float().clone(memory_format=torch.contiguous_format)

    def _modulated(self, target: str, source: str, fan_in: int, style_dim: int, side: int) -> dict[str, Tensor]:
        modulation = f"{source}.conv.modulation"
        return {
            f"synthesis.{target}.weight": self._take(f"{source}.conv.weight", (1, None, fan_in, side, side))[0],
            f"synthesis.{target}.modulation.weight": self._take(f"{modulation}.weight", (fan_in, style_dim)),
            f"synthesis.{target}.modulation.bias": self._take(f"{modulation}.bias", (fan_in,)),
        }

    def _styled(
        self, target: str, source: str, index: int, side: int, fan_in: int, style_dim: int
    ) -> dict[str, Tensor]:
        out = self._modulated(target, source, fan_in, style_dim, 3)
        width = out[f"synthesis.{target}.weight"].shape[0]
        out[f"synthesis.{target}.bias"] = self._take(f"{source}.activate.bias", (width,))
        out[f"synthesis.{target}.noise_strength"] = self._take(f"{source}.noise.weight", (1,))[0]
        noise = f"noises.noise_{index}"
        if noise in self.state:
            out[f"synthesis.{target}.noise"] = self._take(noise, (1, 1, side, side))
        else:  # old checkpoints have none: it is an arbitrary draw, so any fixed one will do
            generator = torch.Generator().manual_seed(index)
            out[f"synthesis.{target}.noise"] = torch.randn(1, 1, side, side, generator=generator)
        return out

    def _rgb(self, target: str, source: str, fan_in: int, style_dim: int) -> dict[str, Tensor]:
        out = self._modulated(target, source, fan_in, style_dim, 1)
        out[f"synthesis.{target}.bias"] = self._take(f"{source}.bias", (1, 3, 1, 1)).flatten()
        return out

    def _mapping(self, style_dim: int) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        count = 0
        while f"style.{count + 1}.weight" in self.state:  # number 0 is the pixel norm
            weight = self._take(f"style.{count + 1}.weight", (style_dim, style_dim))
            bias = self._take(f"style.{count + 1}.bias", (style_dim,))
            out[f"mapping.{count}.weight"] = weight * (_MAPPING_LR / math.sqrt(style_dim))
            out[f"mapping.{count}.bias"] = (bias * _MAPPING_LR)[None]
            count += 1
        return out

    def _check_filter(self) -> None:
        """Rosinality stores its resampling filters; another one than [1, 3, 3, 1] would draw other pictures."""
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        wanted = torch.outer(taps, taps)
        for key, value in self.state.items():
            if key.endswith(".kernel") and not (
                value.shape == wanted.shape and torch.allclose(value.float() / value.float().sum(), wanted, atol=1e-5)
            ):
                raise StateMismatchError(
                    f"{self.title}: {key!r} is not the filter [1, 3, 3, 1], the only one supported."
                )
