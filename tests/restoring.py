"""Stand-ins for tests of whatever restores pictures: detectors, networks, faces and tiny weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memgan import hub
from memgan.cli import main
from memgan.config import MemGANConfig
from memgan.faces.align import FFHQ_TEMPLATE
from memgan.faces.types import Face
from memgan.network.model import build_memgan

TINY = MemGANConfig(
    name="tiny", image_size=32, channel_base=256, channel_max=8, style_dim=8, latent_layers=1, memory_max_slots=4
)


def scene(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: smooth colours and a little noise."""
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
    """What ``memgan restore`` makes its restorer with when it is given these words."""
    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def restorer(*args: Any, **options: Any) -> None:
        seen.update(options)
        raise Stop

    monkeypatch.setattr("memgan.restorer.MemGANRestorer", restorer)
    with pytest.raises(Stop):
        main(["restore", *words])
    return seen


def save_tiny_weights(path: Path) -> Path:
    """Weights of a real network that is small, and moves pictures visibly."""
    torch.manual_seed(5)
    return hub.save(path, TINY, build_memgan(TINY).state_dict(), {"licence": "none"})
