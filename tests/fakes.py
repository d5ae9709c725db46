"""Stand-ins for tests: detectors, networks, faces and pictures whose answers are known."""

import contextlib
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny import TINY_MOBILE
from torch import Tensor, nn

from memgan.apps.cli.main import main
from memgan.faces.align import FFHQ_TEMPLATE, Face
from memgan.faces.harmonize import Look, missing_grain
from memgan.network.config import MemGANConfig
from memgan.network.model import build_memgan
from memgan.training.data.clean_faces import PriorFaces
from memgan.training.losses.perceptual import FeatureNetwork


def scene(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: smooth colors and a little noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(40, 215, (5, 7, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + generator.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def face_at(x: float, y: float, side: float = 64.0, score: float = 0.9) -> Face:
    """A face whose aligned crop is the upright square of ``side`` pixels around (x, y)."""
    landmarks = (FFHQ_TEMPLATE - 255.5) * side / 512 + (x, y)
    half = side * 0.28
    return Face(np.float32([x - half, y - half, x + half, y + half]), landmarks.astype(np.float32), score)


class FakeDetector:
    """Finds the faces it was made with, whatever the picture."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)
        self.seen: list[np.ndarray] = []

    def detect(self, image: np.ndarray) -> list[Face]:
        self.seen.append(image.copy())
        return list(self.faces)


class FakeNetwork(nn.Module):
    """``gain * image + shift``, and a record of the batches; a tuple comes back, as from the real one."""

    def __init__(self, gain: float = 1.0, shift: float = 0.0, size: int = 64) -> None:
        super().__init__()
        self.config = SimpleNamespace(image_size=size)
        self.gain, self.shift = gain, shift
        self.batches: list[Tensor] = []

    def forward(self, image: Tensor) -> tuple[Tensor, None]:
        self.batches.append(image.clone())
        return self.gain * image + self.shift, None


def restorer_options(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    """What ``memgan restore`` makes and calls its restorer with when it is given these words."""
    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    class Recorder:
        device = torch.device("cpu")
        dtype = torch.float32

        def __init__(self, *args: Any, **options: Any) -> None:
            seen.update(options)
            self.pipeline = self

        def run(self, items: Any, options: Any, **how: Any) -> None:
            seen.update(vars(options))
            raise Stop

    monkeypatch.setattr("memgan.restoration.restorer.MemGANRestorer", Recorder)
    with pytest.raises(Stop):
        main(["restore", *words])
    return seen


def random_prior_faces(config: MemGANConfig = TINY_MOBILE) -> PriorFaces:
    """A source of pictures with random weights, of the preset ``tiny`` unless another configuration is given."""
    faces = PriorFaces.__new__(PriorFaces)
    torch.nn.Module.__init__(faces)
    network = build_memgan(config)
    faces.mapping, faces.synthesis = network.latent.mapping, network.decoder.synthesis
    faces.style_dim = config.style_dim
    faces.autocast = contextlib.nullcontext
    faces.register_buffer("mean_latent", torch.zeros(config.style_dim))
    return faces.requires_grad_(False)


class OneConvolution(FeatureNetwork):
    """A feature network small enough for tests."""

    def __init__(self) -> None:
        super().__init__()
        self.default_weights = (1.0,)
        self.widths = (8,)
        torch.manual_seed(5)
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self._freeze()

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """One tap."""
        return [self.conv(image)]


class Embedding(nn.Module):
    """A linear embedding of faces shrunk to 7 px."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3 * 49, 16, generator=generator))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(faces, 16).flatten(1) @ self.weight


def double(faces: torch.Tensor) -> torch.Tensor:
    """A contender: as fast as anything."""
    return 2 * faces


def hungry_call(while_loading: int, in_call: int) -> Callable[[], np.ndarray]:
    """A call that needs so many bytes, and whose preparation does."""
    np.ones(while_loading, np.uint8)
    return lambda: np.ones(in_call, np.uint8)


def shouted(text: str) -> str:
    """The text in capitals; prints at both levels at which a process can."""
    print(text)
    os.system(f"echo {text}")
    return text.upper()


def fail(text: str) -> None:
    """Raise what nobody expects."""
    raise ValueError(text)


class Slope(FeatureNetwork):
    """Two taps that can be worked out by hand: twice the picture, and its mean over colors."""

    default_weights = (0.5, 3.0)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [2 * image, image.mean(1, keepdim=True)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Random pictures from -1 to 1."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


def grain_of(
    before: np.ndarray, after: np.ndarray, amount: np.ndarray, seed: int = 0, *, strip: int | None = None
) -> np.ndarray | None:
    """The missing grain of whole planes (H, W), whose rows are looked at so many at once."""

    def look(rows: slice) -> Look:
        return Look(before[rows], after[rows], amount[rows])

    grain = missing_grain(look, before.shape, seed, strip=strip)
    return None if grain is None else np.concatenate(list(grain))
