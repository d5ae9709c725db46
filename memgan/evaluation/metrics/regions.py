"""Metrics of a part of the picture: the face, or what is around it."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from memgan.degradation import gaussian_blur

Part = Literal["face", "around"]
"""Inside of an oval around the face, or outside of it."""
_CENTER = (0.5, 0.54)
_RADII = (0.26, 0.35)
"""Right and down, as shares of the side of a picture aligned to FFHQ's template: hairline to chin, without ears."""
_SOFT = 0.01
"""Standard deviation of a join's softness, as a share of the side: an edge would be seen by networks."""


def oval(height: int, width: int, center: tuple[float, float], radii: tuple[float, float]) -> Tensor:
    """(height, width) bool on the CPU: inside of an oval. Center and radii: right and down, as shares of the sides."""
    down = ((torch.arange(height) + 0.5) / height - center[1]) / radii[1]
    right = ((torch.arange(width) + 0.5) / width - center[0]) / radii[0]
    return down[:, None] ** 2 + right[None, :] ** 2 < 1


def face_oval(height: int, width: int) -> Tensor:
    """(height, width) bool on the CPU: where a face aligned to FFHQ's template is, without hair, ears and neck."""
    return oval(height, width, _CENTER, _RADII)


def within(metric: Callable[[Tensor, Tensor, Tensor], Tensor], part: Part) -> Callable[[Tensor, Tensor], Tensor]:
    """``metric`` of picture, truth and the pixels that count, as one of picture and truth that looks at a part."""

    def of_part(picture: Tensor, truth: Tensor) -> Tensor:
        face = face_oval(*picture.shape[-2:])
        return metric(picture, truth, face if part == "face" else ~face)

    return of_part


def only(part: Part, picture: Tensor, truth: Tensor) -> Tensor:
    """The truth with a part of another picture of it, joined softly, so that nothing else differs.

    Args:
        part: which.
        picture: (B, 3, H, W).
        truth: (B, 3, H, W), of the same faces.
    """
    face = face_oval(*picture.shape[-2:]).to(picture)
    share = gaussian_blur(face[None], _SOFT * picture.shape[-1])[0]
    return torch.lerp(truth, picture, share if part == "face" else 1 - share)
