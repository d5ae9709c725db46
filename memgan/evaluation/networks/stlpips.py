"""Defines ST-LPIPS, the shift-tolerant learned perceptual distance (Ghildyal and Liu, ECCV 2022).

Distance = sum over five taps of mean over space of w . (f(a)/|f(a)| - f(b)/|f(b)|)^2, on AlexNet or VGG-16 trunks
whose pooling is a stride-1 maximum followed by a blur with stride 2. The weights are read from the PyPI package
``stlpips-pytorch`` (BSD 2-Clause) without importing it.
"""

import itertools
import re
from collections import OrderedDict
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.errors import WeightsError, brief
from memgan.evaluation.networks.packages import package_file
from memgan.hub.tensor_file import read_state
from memgan.runtime.checks import check_choice, check_pictures

Trunk = Literal["alex", "vgg"]


class BlurPool(nn.Module):
    """[1, 2, 1] blur with stride 2 after mirroring two pixels on every side; H -> (H + 1) // 2 + 1."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("filt", (taps[:, None] * taps).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), self.filt.to(x), stride=2, groups=x.shape[1])


def _stages(net: Trunk) -> list[list[nn.Module]]:
    if net == "alex":
        return [
            [nn.Conv2d(3, 64, 11, padding=2), BlurPool(64), nn.ReLU()],
            [nn.MaxPool2d(3, 1), BlurPool(64), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()],
            [nn.MaxPool2d(3, 1), BlurPool(192), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()],
            [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()],
            [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()],
        ]
    stages: list[list[nn.Module]] = []
    inputs = 3
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        stage: list[nn.Module] = [nn.MaxPool2d(2, 1), BlurPool(inputs)] if stages else []
        for _ in range(convolutions):
            stage += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        stages.append(stage)
    return stages


class ShiftTolerantTrunk(nn.Sequential):
    """The convolutional part of ST-LPIPS, named as in the published files: the first ``num_taps`` of five stages."""

    def __init__(self, net: Trunk, num_taps: int = 5) -> None:
        super().__init__()
        check_choice("net", net, get_args(Trunk))
        layers = itertools.count()  # numbered through all stages
        for number, stage in enumerate(_stages(net)[:num_taps], 1):
            named = OrderedDict((str(next(layers)), layer) for layer in stage)
            self.add_module(f"slice{number}", nn.Sequential(named))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) scaled picture -> a tap after the last ReLU of each stage, (B, C_k, H_k, W_k) >= 0."""
        taps = []
        for stage in self:
            x = stage(x)
            taps.append(x)
        return taps


class InputScaling(nn.Module):
    """Shifts and scales channels of RGB in [-1, 1] by the constants of the published files."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale


class STLPIPS(nn.Module):
    """Perceptual distance of two pictures: 0 for equal ones, lower is more alike, mostly below 1.

    Differentiable; its own parameters are frozen. Computed in float32, autocast off.

    Args:
        net: trunk, ``alex`` (the usual choice for reporting) or ``vgg``.
        weights: see :func:`read_stlpips_weights`, which names the errors too; ``"random"``: random, for tests.
    """

    def __init__(self, net: Trunk = "alex", weights: str | Path | None = None) -> None:
        super().__init__()
        self.scaling_layer = InputScaling()
        self.net = ShiftTolerantTrunk(net)
        widths = (64, 192, 384, 256, 256) if net == "alex" else (64, 128, 256, 512, 512)
        self.heads = nn.ParameterList([torch.full((1, width, 1, 1), 1 / width) for width in widths])
        if weights != "random":
            state = read_stlpips_weights(net, weights)
            state = {re.sub(r"lin(\d)\.model\.1\.weight", r"heads.\1", key): tensor for key, tensor in state.items()}
            try:
                self.load_state_dict(state)
            except RuntimeError as error:
                raise WeightsError(f"The ST-LPIPS weights do not fit the {net} trunk: {brief(error)}") from error
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # a quarter faster on the CPU

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances of corresponding pictures, (B, 3, H, W) RGB in [-1, 1], sides >= 32 px -> (B,) float32, >= 0.

        Raises:
            ShapeError: if the shapes differ or are not of that form.
        """
        check_pictures(a, b, least_px=32)
        with torch.autocast(a.device.type, enabled=False):
            first, second = self.taps(a.float()), self.taps(b.float())
            total = a.new_zeros(len(a), dtype=torch.float32)
            for f, g, head in zip(first, second, self.heads, strict=True):
                difference = (unit_normalized(f) - unit_normalized(g)).square()
                total = total + (difference * head).sum(1).mean((1, 2))
        return total

    def taps(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float32 RGB in [-1, 1] -> the trunk's five taps, each (B, C_k, H_k, W_k) >= 0."""
        return self.net(self.scaling_layer(image).contiguous(memory_format=torch.channels_last))


def unit_normalized(features: Tensor, epsilon: float = 1e-10) -> Tensor:
    """Features (B, C, H, W) with unit Euclidean norm over channels at every position; 1e-10 is the published one."""
    # The square root has no finite slope at 0, and a ReLU may set a whole position to 0.
    norm = features.square().sum(1, keepdim=True).clamp_min(1e-24).sqrt()
    return features / (norm + epsilon)


def read_stlpips_weights(net: Trunk, file: str | Path | None = None) -> dict[str, Tensor]:
    """Read the published tensors, by their published names, of a ``.pth`` file, or of the installed package's.

    Raises:
        MissingDependencyError: if ``file`` is ``None`` and the package is not installed.
        WeightsError: if the file does not exist or cannot be read.
    """
    if file is None:
        file = package_file("stlpips-pytorch", f"weights/vST0.0/{net}_shift_tolerant.pth")
    return read_state(file, remedy="Give an unchanged .pth file of stlpips-pytorch.")
