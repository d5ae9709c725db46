"""Computes the kernel distance of two sets of features: the unbiased squared maximum mean discrepancy.

Reference: Binkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", ICLR 2018, whose kernel (x . y / D + 1)^3
is used; estimators of Gretton et al., "A Kernel Two-Sample Test", JMLR 2012.
"""

import torch
from torch import Tensor

from memgan.errors import DataError, ShapeError


def kernel_distance(a: Tensor, b: Tensor, *, pairs: bool = False) -> float:
    """Squared maximum mean discrepancy of two samples of features; about 0 for samples of one distribution.

    Unlike :func:`memgan.evaluation.metrics.frechet.frechet_distance` it is unbiased for few pictures, so that it can
    fall below 0. Its standard deviation is about one over the square root of their number.

    Args:
        a: (N, D) features of one set, any float dtype.
        b: (M, D) features of the other.
        pairs: rows of the two are of the same faces. A restored face is then compared with all truths but its own,
            because its similarity to that one is not a property of the sets.

    Raises:
        ShapeError: if the shapes are not of that form, or ``pairs`` differ in number.
        DataError: if a set has fewer than two pictures, or features are not finite.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or (pairs and len(a) != len(b)):
        raise ShapeError(
            f"The features have shapes {tuple(a.shape)} and {tuple(b.shape)}; needed: (N, D) and (M, D), pairs: N = M."
        )
    if min(len(a), len(b)) < 2:
        raise DataError(f"A kernel distance of {len(a)} and {len(b)} pictures; each set needs at least 2.")
    a, b = a.double(), b.double()
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise DataError("A kernel distance of features that are not finite; check the pictures and the network.")
    across = _mean_of_others(_kernel(a, b)) if pairs else _kernel(a, b).mean()
    return float(_mean_of_others(_kernel(a, a)) + _mean_of_others(_kernel(b, b)) - 2 * across)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_of_others(kernel: Tensor) -> Tensor:
    """Mean of a square matrix without its diagonal."""
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
