"""Computes distances of two sets of features: the Frechet and the kernel distance.

Frechet (Dowson and Landau, 1982; Heusel et al., NeurIPS 2017), of the sets as Gaussians:
d = |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^(1/2). With C_a = A'A and C_b = B'B the last trace is the sum of
the singular values of A B': no matrix square root, no regularization, exact also where covariances are singular.

Kernel: the unbiased squared maximum mean discrepancy (Gretton et al., JMLR 2012) with the kernel (x . y / D + 1)^3 of
Binkowski, Sutherland, Arbel and Gretton, "Demystifying MMD GANs", ICLR 2018.
"""

import torch
from torch import Tensor

from memgan.errors import DataError, ShapeError


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Distance of two samples of features; 0 for equal ones, lower is more alike, in squared units of a feature.

    With fewer pictures than features it is biased upwards, more so for fewer pictures: compare only distances of
    equally many, or take more.

    Args:
        a, b: (N, D) and (M, D) features, any float dtype.

    Raises:
        ShapeError: if the shapes are not of that form.
        DataError: if a set has fewer than two pictures, or features are not finite.
    """
    a, b = _checked(a, b)
    mean_a, root_a = _moments(a)
    mean_b, root_b = _moments(b)
    shared = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * shared
    return max(float(distance), 0.0)  # rounding may leave -1e-12 for equal sets


def kernel_distance(a: Tensor, b: Tensor, *, pairs: bool = False) -> float:
    """Squared maximum mean discrepancy of two samples of features; about 0 for samples of one distribution.

    Unlike :func:`frechet_distance` it is unbiased for few pictures, so that it can fall below 0. Its standard
    deviation is about one over the square root of their number.

    Arguments and errors are those of :func:`frechet_distance`. ``pairs``: rows of the two are of the same faces. A
    restored face is then compared with all truths but its own, because its similarity to that one is not a property
    of the sets; :class:`ShapeError` if they differ in number.
    """
    a, b = _checked(a, b)
    if pairs and len(a) != len(b):
        raise ShapeError(f"{len(a)} and {len(b)} features cannot be pairs; needed: (N, D) and (M, D) with N = M.")
    across = _mean_of_others(_kernel(a, b)) if pairs else _kernel(a, b).mean()
    return float(_mean_of_others(_kernel(a, a)) + _mean_of_others(_kernel(b, b)) - 2 * across)


def small_sample_note(num_pictures: int, num_features: int) -> str | None:
    """Caveat of a Frechet distance of so few pictures; ``None`` if they are enough."""
    if num_pictures > num_features:
        return None
    return (
        f"{num_pictures} pictures for {num_features} features: the distance is biased upwards; compare it only with "
        f"distances of {num_pictures} pictures, or give more than {num_features}"
    )


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1]:
        raise ShapeError(f"The features have shapes {tuple(a.shape)} and {tuple(b.shape)}; needed: (N, D) and (M, D).")
    if min(len(a), len(b)) < 2:
        raise DataError(
            f"A distance of sets of {len(a)} and {len(b)} pictures; each needs at least 2, and a Frechet distance "
            f"means little under {a.shape[1]}: give more pictures, or leave this metric out."
        )
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise DataError("A distance of features that are not finite; check the pictures and the network.")
    return a.double(), b.double()


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and a root R with R'R = covariance, at most (D, D)."""
    mean = features.mean(0)
    root = (features - mean) / (len(features) - 1) ** 0.5
    if len(root) > root.shape[1]:
        root = torch.linalg.qr(root, mode="r").R
    return mean, root


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_of_others(kernel: Tensor) -> Tensor:
    """Mean of a square matrix without its diagonal."""
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
