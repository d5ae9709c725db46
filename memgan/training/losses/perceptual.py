"""Compares the features of two pictures (Eq. 10, LPIPS) that a fixed network finds in them."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.errors import ConfigError, WeightsError
from memgan.evaluation.networks.stlpips import InputScaling, ShiftTolerantTrunk, read_stlpips_weights, unit_normalized
from memgan.hub.tensor_file import read_state
from memgan.runtime.checks import check_choice
from memgan.training.losses.pixel import check_images

_WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five taps of both networks."""


class FeatureNetwork(nn.Module):
    """A frozen network that turns (B, 3, H, W) RGB in [-1, 1] into a list of taps, shallow to deep."""

    default_weights: tuple[float, ...]
    """Weight of every tap that brings their L1 distances to like size."""
    widths: tuple[int, ...]
    """Channels of every tap."""

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
    ``weights`` is a ``vgg19-*.pth`` of torchvision (``features.*`` keys), or the same tensors as ``.safetensors``;
    ``None``: random, for tests.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path | None, num_taps: int = 5) -> None:
        super().__init__()
        self.default_weights = (0.1, 0.1, 1.0, 1.0, 1.0)[:num_taps]
        self.widths = _WIDTHS[:num_taps]
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.features = nn.ModuleDict()
        self._stages: list[list[str]] = []
        inputs, index = 3, 0
        for width, convolutions in zip(self.widths, (2, 2, 4, 4, 4), strict=False):
            stage = [str(index + 2 * place) for place in range(convolutions)]  # every ReLU has a number
            for name in stage:
                self.features[name] = nn.Conv2d(inputs, width, 3, padding=1)
                inputs = width
            self._stages.append(stage)
            index += 2 * convolutions + 1  # and every pooling
        if weights is not None:
            table = read_state(weights, remedy="Give a vgg19 file of torchvision.")
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

    ``weights`` is what :func:`memgan.evaluation.networks.stlpips.read_stlpips_weights` takes (``None``: the installed
    package); ``"random"``: random, for tests.
    """

    def __init__(self, weights: str | Path | None = None, num_taps: int = 5) -> None:
        super().__init__()
        # A fifth of one over each tap's mean activation on sharp 512 px face photographs: the taps count alike.
        self.default_weights = (13.6, 38.2, 68.8, 7.0, 0.133)[:num_taps]
        self.widths = _WIDTHS[:num_taps]
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


def feature_network(kind: str, weights: str | Path | None = None, num_taps: int = 5) -> FeatureNetwork:
    """Build a feature network with real weights.

    Args:
        kind: ``vgg19`` (the paper's; torchvision's file) or ``stlpips_vgg`` (VGG-16 of the package stlpips-pytorch).
        weights: file of the weights; may be ``None`` for ``stlpips_vgg`` only: the installed package.
        num_taps: how many taps, from the input on.

    Raises:
        ConfigError: unknown kind, or no ``weights``.
        WeightsError: the file is missing, unreadable or another network's.
    """
    check_choice("The feature network", kind, ("vgg19", "stlpips_vgg"))
    if not 1 <= num_taps <= 5:
        raise ConfigError(f"num_taps is {num_taps}; allowed: 1 to 5.")
    if kind == "stlpips_vgg":
        return StlpipsVgg(weights, num_taps)
    if weights is None:
        raise ConfigError("The feature network vgg19 needs the path of its weights; only stlpips_vgg does not.")
    return Vgg19(weights, num_taps)


class PerceptualLoss(nn.Module):
    """Weighted L1 distance of the features of a fixed network (Eq. 10); lower is more alike.

    Args:
        network: see :func:`feature_network`.
        unit_normalize: divide the features at every position by their root mean square over channels first, so that
            every tap counts alike. Off: the literal Eq. 10, with the network's own weights.
        taps: how many of the network's taps count, from the input on; ``None``: all.
    """

    def __init__(self, network: FeatureNetwork, *, unit_normalize: bool = False, taps: int | None = None) -> None:
        super().__init__()
        self.network = network
        own = network.default_weights[:taps]
        self.weights = (1 / len(own),) * len(own) if unit_normalize else own
        self.unit_normalize = unit_normalize

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar float32 loss of two (B, 3, H, W) pictures in [-1, 1], sides >= 32 px; gradients reach ``restored``.

        The convolutions follow autocast; normalization and differences are float32.
        """
        return self.distance(*self.features(restored, target))

    def features(self, restored: Tensor, target: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """All taps of both pictures; gradients reach ``restored``."""
        check_images(restored, target)
        with torch.no_grad():
            wanted = self.network(target)
        return self.network(restored), wanted

    def distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Eq. 10 of taps; those behind the last weight do not count."""
        total = found[0].new_zeros((), dtype=torch.float32)
        for weight, tap, goal in zip(self.weights, found, wanted, strict=False):
            total = total + weight * (self._prepared(tap) - self._prepared(goal)).abs().mean()
        return total

    def calibrated_distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """The distance that the network's own channel weights were fitted for (LPIPS, Zhang et al., 2018); scalar.

        Raises:
            ConfigError: if the network has no such weights.
        """
        if self.network.calibration is None:
            raise ConfigError(f"{type(self.network).__name__} has no calibration; use the network stlpips_vgg.")
        total = found[0].new_zeros((), dtype=torch.float32)
        for weight, tap, goal in zip(self.network.calibration, found, wanted, strict=True):
            difference = (unit_normalized(tap.float()) - unit_normalized(goal.float())).square()
            total = total + (difference * weight.view(1, -1, 1, 1)).sum(1).mean()
        return total

    def _prepared(self, tap: Tensor) -> Tensor:
        tap = tap.float()
        return unit_normalized(tap, 1e-3) * tap.shape[1] ** 0.5 if self.unit_normalize else tap


def _load(module: nn.Module, table: dict[str, Tensor], source: str | Path | None) -> None:
    """Strict for what ``module`` has; deeper layers and classifiers in ``table`` are left."""
    wanted = module.state_dict()
    missing = sorted(key for key, value in wanted.items() if key not in table or table[key].shape != value.shape)
    if missing:
        raise WeightsError(f"{source} lacks tensors, or has other shapes, for {missing[:4]}: it is another network's.")
    module.load_state_dict({key: table[key].to(value.dtype) for key, value in wanted.items()})
