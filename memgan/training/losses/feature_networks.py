"""Builds the fixed feature networks phi of the perceptual loss (Eq. 10) and reads their weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.errors import ConfigError, ShapeError, WeightsError, WeightsNotFoundError
from memgan.evaluation.networks.stlpips import InputScaling, ShiftTolerantTrunk, read_stlpips_weights

FeatureKind = Literal["vgg19", "stlpips_vgg"]

_MIN_SIDE_PX = 32


class FeatureNetwork(nn.Module):
    """A frozen network that turns (B, 3, H, W) RGB in [-1, 1] into a list of taps, shallow to deep.

    Attributes:
        default_weights: weight of every tap that brings their L1 distances to like size.
        widths: channels of every tap.
    """

    default_weights: tuple[float, ...]
    widths: tuple[int, ...]

    @property
    def calibration(self) -> list[Tensor] | None:
        """(C,) weights of the channels of every tap, fitted to people's judgments; ``None``: it has none."""
        return None

    def _freeze(self) -> None:
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Frozen networks stay in evaluation mode."""
        return super().train(False)


class Vgg19(FeatureNetwork):
    """ImageNet VGG-19 as torchvision stores it; taps: the last convolution of each stage, before its ReLU.

    The paper names "conv1 ... conv5"; these five taps and their weights are what face restoration commonly uses.

    Args:
        weights: a ``vgg19-*.pth`` of torchvision (``features.*`` keys), or the same tensors as ``.safetensors``;
            ``None``: random, for tests.
        num_taps: stages to build.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path | None, num_taps: int = 5) -> None:
        super().__init__()
        self.default_weights = (0.1, 0.1, 1.0, 1.0, 1.0)[:num_taps]
        self.widths = (64, 128, 256, 512, 512)[:num_taps]
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.features = nn.ModuleDict()
        self._stages: list[list[str]] = []
        inputs, index = 3, 0
        for width, convolutions in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))[:num_taps]:
            stage = []
            for _ in range(convolutions):
                self.features[str(index)] = nn.Conv2d(inputs, width, 3, padding=1)
                stage.append(str(index))
                inputs, index = width, index + 2  # every ReLU has a number
            self._stages.append(stage)
            index += 1  # and every pooling
        if weights is not None:
            table = _read_table(weights)
            _load(self.features, {key.removeprefix("features."): value for key, value in table.items()}, weights)
        self._freeze()

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image / 2 + 0.5 - self.mean) / self.std
        taps: list[Tensor] = []
        for stage in self._stages:
            if taps:
                x = F.max_pool2d(F.relu(x), 2)
            for position, name in enumerate(stage):
                x = self.features[name](F.relu(x) if position else x)
            taps.append(x)
        return taps


class StlpipsVgg(FeatureNetwork):
    """The VGG-16 trunk of ST-LPIPS (trained from scratch on perceptual judgments); taps: relu1_2 ... relu5_3.

    Args:
        weights: what :func:`memgan.evaluation.networks.stlpips.read_stlpips_weights` takes (``None``: the installed
            package);
            ``"random"``: random, for tests.
        num_taps: stages to build.
    """

    def __init__(self, weights: str | Path | None = None, num_taps: int = 5) -> None:
        super().__init__()
        self.default_weights = _STLPIPS_VGG_WEIGHTS[:num_taps]
        self.widths = (64, 128, 256, 512, 512)[:num_taps]
        self.scaling = InputScaling()
        self.trunk = ShiftTolerantTrunk("vgg", num_taps)
        heads = {f"calibration_{tap}": torch.full((width,), 1 / width) for tap, width in enumerate(self.widths)}
        if weights != "random":
            state = read_stlpips_weights("vgg", weights)
            _load(self.trunk, {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}, weights)
            heads = {name: state[f"lin{name[-1]}.model.1.weight"].flatten() for name in heads}
        for name, head in heads.items():
            self.register_buffer(name, head)
        self._freeze()

    @property
    def calibration(self) -> list[Tensor]:
        """Channel weights by tap."""
        return [getattr(self, f"calibration_{tap}") for tap in range(len(self.widths))]

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.trunk(self.scaling(image))


# A fifth of one over each tap's mean activation on sharp 512 px face photographs: the taps count alike.
_STLPIPS_VGG_WEIGHTS = (13.6, 38.2, 68.8, 7.0, 0.133)

_NETWORKS: dict[str, Callable[..., FeatureNetwork]] = {
    "vgg19": Vgg19,
    "stlpips_vgg": StlpipsVgg,
}


def feature_network(
    kind: FeatureKind, weights: str | Path | None = None, num_taps: int | None = None
) -> FeatureNetwork:
    """Build a feature network with real weights.

    Args:
        kind: ``vgg19`` (the paper's; torchvision's file) or ``stlpips_vgg`` (VGG-16 of the package stlpips-pytorch).
        weights: file of the weights; may be ``None`` for ``stlpips_vgg`` only: the installed package.
        num_taps: how many taps, from the input on; ``None``: all.

    Raises:
        ConfigError: unknown kind, or no ``weights``.
        WeightsError: the file is missing, unreadable or another network's.
    """
    if kind not in _NETWORKS:
        raise ConfigError(f"No feature network is called {kind!r}; there are: {', '.join(get_args(FeatureKind))}.")
    if weights is None and kind != "stlpips_vgg":
        raise ConfigError(f"The feature network {kind!r} needs the path of its weights; only stlpips_vgg does not.")
    num_taps = 5 if num_taps is None else num_taps
    if not 1 <= num_taps <= 5:
        raise ConfigError(f"num_taps is {num_taps}; allowed: 1 to 5.")
    return _NETWORKS[kind](weights, num_taps)


def check_images(a: Tensor, b: Tensor) -> None:
    """Raise :class:`ShapeError` unless both are the same (B, 3, H, W) with sides of at least 32 px."""
    if a.shape != b.shape or a.dim() != 4 or a.shape[1] != 3 or min(a.shape[-2:]) < _MIN_SIDE_PX:
        raise ShapeError(
            f"The pictures have shapes {tuple(a.shape)} and {tuple(b.shape)}; needed: two equal (B, 3, H, W) with "
            f"sides of at least {_MIN_SIDE_PX} px."
        )


def _read_table(path: str | Path) -> dict[str, Tensor]:
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no weight file {path}; give the path of an existing file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has a dozen of its own
        raise WeightsError(f"{path} is no readable weight file ({error}); download it again.") from error


def _load(module: nn.Module, table: dict[str, Tensor], source: str | Path | None) -> None:
    """Strict for what ``module`` has; deeper layers and classifiers in ``table`` are left."""
    wanted = module.state_dict()
    missing = sorted(key for key, value in wanted.items() if key not in table or table[key].shape != value.shape)
    if missing:
        raise WeightsError(f"{source} lacks tensors, or has other shapes, for {missing[:4]}: it is another network's.")
    module.load_state_dict({key: table[key].to(value.dtype) for key, value in wanted.items()})
