"""Computes the identity distance of aligned faces by dlib's face recognition network (King, 2017).

The network (public domain) comes with the PyPI package ``face-recognition-models`` and is run by ``dlib`` (package
``dlib-bin``). The file is read without importing the former.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.errors import MissingDependencyError, ShapeError, WeightsError, WeightsNotFoundError, brief
from memgan.evaluation.networks.packages import package_file
from memgan.image import to_uint8
from memgan.runtime.checks import check_pictures

# Left, top and side of the square that dlib's own alignment crops on average of a face aligned to the FFHQ template,
# as shares of the side. It is fixed, because landmarks detected on a degraded face would move it, and the distance
# would measure the landmarks.
_CUT = (0.167, 0.257, 0.677)


class IdentityDistance:
    """Distance of 128-dimensional descriptors: 0 for equal faces, above 0.6, say dlib's authors, another person.

    Args:
        weights: dlib's ``.dat`` file; ``None``: the installed package's.

    Raises:
        MissingDependencyError: if dlib or (without ``weights``) the package of the network is not installed.
        WeightsError: if the file does not exist or dlib cannot read it.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        try:
            import dlib
        except ImportError as error:
            raise MissingDependencyError(
                "The identity distance runs dlib, which is not installed: pip install 'memgan[eval]'."
            ) from error
        file = weights
        if file is None:
            file = package_file("face-recognition-models", "models/dlib_face_recognition_resnet_model_v1.dat")
        if not Path(file).is_file():
            raise WeightsNotFoundError(f"No face recognition network at {file}; give dlib's .dat file.")
        try:
            self._network = dlib.face_recognition_model_v1(str(file))
        except RuntimeError as error:
            raise WeightsError(f"{file} is no face recognition network of dlib ({brief(error)}).") from error

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances of corresponding faces, two (B, 3, S, S) aligned to the FFHQ template -> (B,) float32 on the CPU.

        Raises:
            ShapeError: if the shapes differ or are not of that form.
        """
        check_pictures(a, b)
        return (self.describe(a) - self.describe(b)).norm(dim=1)

    def describe(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) aligned faces in [-1, 1] -> (B, 128) descriptors, float32 on the CPU; errors as a call's."""
        check_pictures(image)
        if image.shape[2] != image.shape[3]:
            raise ShapeError(f"The faces have shape {tuple(image.shape)}; needed: (B, 3, S, S).")
        chips = to_uint8(recognition_chip(image))
        found = [self._network.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in chips]
        return torch.tensor([list(one) for one in found], dtype=torch.float32).reshape(-1, 128)


def recognition_chip(image: Tensor) -> Tensor:
    """Crop aligned faces for the network: (B, 3, S, S) -> (B, 3, 150, 150), same range."""
    return square_cut(image.float(), _CUT, 150)


def square_cut(image: Tensor, box: tuple[float, float, float], side_px: int) -> Tensor:
    """Crop a square (left, top, side as shares of S) of (B, 3, S, S) to (B, 3, side_px, side_px); differentiable."""
    left, top, side = (round(part * image.shape[-1]) for part in box)
    cut = image[..., top : top + side, left : left + side]
    return F.interpolate(cut, (side_px, side_px), mode="bilinear", antialias=True, align_corners=False)
