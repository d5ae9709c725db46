"""Computes the Frechet distance of two sets of features as Gaussians (Heusel et al., NeurIPS 2017; Dowson and Landau).

d = |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^(1/2). With C_a = A'A and C_b = B'B the last trace is the sum of
the singular values of A B': no matrix square root, no regularization, exact also where covariances are singular.
"""

import torch
from torch import Tensor

from memgan.errors import DataError, ShapeError


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Distance of two samples of features; 0 for equal ones, lower is more alike, in squared units of a feature.

    With fewer pictures than features the covariances are singular, and the distance is biased upwards, more so for
    fewer pictures. Compare only distances of equally many pictures, whose ratios mean something, or take more
    pictures; see :func:`small_sample_note`.

    Args:
        a: (N, D) features of one set, any float dtype.
        b: (M, D) features of the other.

    Raises:
        ShapeError: if the shapes are not of that form.
        DataError: if a set has fewer than two pictures, or features are not finite.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1]:
        raise ShapeError(f"The features have shapes {tuple(a.shape)} and {tuple(b.shape)}; needed: (N, D) and (M, D).")
    if min(len(a), len(b)) < 2:
        raise DataError(
            f"A Frechet distance of {len(a)} and {len(b)} pictures; each set needs at least 2, and means little under "
            f"{a.shape[1]}: give more pictures, or leave this metric out."
        )
    mean_a, root_a = _moments(a)
    mean_b, root_b = _moments(b)
    if not (torch.isfinite(root_a).all() and torch.isfinite(root_b).all()):
        raise DataError("A Frechet distance of features that are not finite; check the pictures and the network.")
    shared = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * shared
    return max(float(distance), 0.0)  # rounding may leave -1e-12 for equal sets


def small_sample_note(num_pictures: int, num_features: int) -> str | None:
    """Caveat of a distance of so few pictures; ``None`` if they are enough."""
    if num_pictures > num_features:
        return None
    return (
        f"{num_pictures} pictures for {num_features} features: the distance is biased upwards; compare it only with "
        f"distances of {num_pictures} pictures, or give more than {num_features}"
    )


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and a root R with R'R = covariance, at most (D, D), both float64."""
    features = features.double()
    mean = features.mean(0)
    root = (features - mean) / (len(features) - 1) ** 0.5
    if len(root) > root.shape[1]:
        root = torch.linalg.qr(root, mode="r").R
    return mean, root
