"""Masks from face parsing: what part of a restored face is face and hair, rather than background."""

import os
from typing import Any

import cv2
import numpy as np
import torch

from memgan.errors import ConfigError
from memgan.faces.mask import MaskMaker

PARSERS = ("parsenet", "bisenet")
"""Names that :func:`create_parser` knows."""
MASKS = ("soft", *PARSERS)
_GROW = 1 / 64  # of the side: the network's borders cut a little into hair
_FEATHER = 1 / 40


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
    """Build a maker of masks from a parsing network of facexlib.

    Args:
        name: ``parsenet`` (85 MB) or ``bisenet`` (53 MB).
        device: torch device of the network.
        weights_dir: folder with facexlib's weight files.
        offline: never download; ``None``: as the environment variable ``HF_HUB_OFFLINE`` says.

    Raises:
        ConfigError: if the name is unknown.
        MissingDependencyError: if facexlib is not installed.
        WeightsError: if the weights are missing or damaged.
    """
    if name not in PARSERS:
        raise ConfigError(f"parser is {name!r}; allowed are {', '.join(PARSERS)}")
    from memgan.faces.facexlib_parsing import FacexlibParser

    return FacexlibParser(name, device=device, weights_dir=weights_dir, offline=offline)


def mask_maker(mask: Any, device: torch.device) -> MaskMaker | None:
    """What a restorer's option ``mask`` means; ``None`` for the soft mask alone.

    Raises:
        ConfigError: if it is neither a known name nor a function; else as :func:`create_parser`.
    """
    if mask == "soft":
        return None
    if mask in PARSERS:
        return create_parser(mask, device=device)
    if not callable(mask):
        raise ConfigError(
            f"mask is {mask!r}; allowed are {', '.join(MASKS)}, or a function from the restored face (S, S, 3) to "
            "numbers (S, S) from 0 to 1"
        )
    return mask
