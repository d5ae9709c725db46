"""Makes masks by face parsing: the part of a restored face that is face and hair, rather than background."""

import os
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch

from memgan.image import resize, to_tensor
from memgan.runtime.checks import check_choice
from memgan.runtime.choices import MASKS, PARSERS

MaskMaker = Callable[[np.ndarray], np.ndarray]
"""(S, S, 3) uint8 RGB restored face -> (S, S) numbers in [0, 1]: which part of it to paste."""

_GROW = 1 / 64  # of the side: the network's borders cut a little into hair
_FEATHER = 1 / 40


class Layout(NamedTuple):
    """How a parsing network sees and names."""

    mean: tuple[float, float, float]
    """Of RGB in [0, 1], subtracted from its input."""
    std: tuple[float, float, float]
    left_out: tuple[int, ...]
    """Classes that are not pasted: background, clothes, neck, necklace and hat. Glasses, ears and hair stay whole."""


_LAYOUTS = {
    # Background, skin, nose, glasses, eyes, brows, ears, mouth, lips, hair, hat, earring, necklace, neck, clothes.
    "parsenet": Layout((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (0, 14, 16, 17, 18)),
    # Background, skin, brows, eyes, glasses, ears, earring, nose, mouth, lips, neck, necklace, clothes, hair, hat.
    "bisenet": Layout((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (0, 14, 15, 16, 18)),
}
_SIDE_PX = 512  # that the networks were trained on


class ParsingMask:
    """Asks a parsing network which part of a restored face to paste; keeps nothing between calls."""

    def __init__(self, network: torch.nn.Module, layout: Layout) -> None:
        """``network`` takes (1, 3, 512, 512); its first result is (1, 19, 512, 512), a score for each class."""
        self._network, self._layout = network, layout

    @torch.inference_mode()
    def __call__(self, restored: np.ndarray) -> np.ndarray:
        """(S, S, 3) uint8 RGB to (S, S) float32 in [0, 1]."""
        size = restored.shape[0]
        values = (self._layout.mean, self._layout.std)
        mean, std = (torch.tensor(numbers, dtype=torch.float32).view(3, 1, 1) for numbers in values)
        planes = (to_tensor(resize(restored, _SIDE_PX, _SIDE_PX)).add(1).div(2) - mean) / std
        scores = self._network(planes[None].to(next(self._network.parameters()).device))[0]
        classes = scores[0].argmax(dim=0).cpu().numpy()
        kept = np.isin(classes, self._layout.left_out, invert=True)
        return resize(soften(kept), size, size, cv2.INTER_AREA if size < _SIDE_PX else cv2.INTER_LINEAR)


def soften(inside: np.ndarray) -> np.ndarray:
    """Hard region (S, S) of bool to a mask (S, S) float32 in [0, 1] with soft edges around it."""
    side = inside.shape[0]
    reach = max(1, round(side * _GROW))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    grown = cv2.dilate(inside.astype(np.uint8), kernel).astype(np.float32)
    return np.clip(cv2.GaussianBlur(grown, (0, 0), max(1.0, side * _FEATHER)), 0, 1)


def create_parser(
    name: str = "parsenet",
    *,
    device: str | torch.device = "cpu",
    weights_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
) -> MaskMaker:
    """Build a maker of masks from facexlib's network ``parsenet`` (85 MB) or ``bisenet`` (53 MB).

    Args:
        device: torch device of the network.
        weights_dir, offline: as for :func:`memgan.faces.create_detector`.

    Raises:
        ConfigError: if the name is unknown.
        MissingDependencyError: if facexlib is not installed.
        WeightsError: if the weights are missing or damaged.
    """
    check_choice("parser", name, PARSERS)
    from memgan.faces.facexlib_adapter import load_network

    network = load_network(f"parsing_{name}", weights_dir=weights_dir, offline=offline)
    return ParsingMask(network.to(device).requires_grad_(False), _LAYOUTS[name])


def mask_maker(mask: str | MaskMaker, device: torch.device) -> MaskMaker | None:
    """Turns a restorer's option ``mask`` into a function; ``None`` for the soft mask alone.

    Raises:
        ConfigError: if it is neither a known name nor a function; else as :func:`create_parser`.
    """
    if not isinstance(mask, str) and callable(mask):
        return mask
    check_choice("mask", mask, MASKS, ", or a function from the restored face (S, S, 3) to numbers (S, S) from 0 to 1")
    return None if mask == "soft" else create_parser(str(mask), device=device)
