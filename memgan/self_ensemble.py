"""A network's answer as the mean of its answers to a face and to that face's mirror image."""

from collections.abc import Callable

from torch import Tensor


def mirrored_mean(restore: Callable[[Tensor], Tensor], faces: Tensor) -> Tensor:
    """Restore faces and their mirror images, and average both, which costs two runs instead of one.

    What the degraded face shows comes out alike both ways; what is made up lies elsewhere, and its mean is fainter:
    the geometric self-ensemble of super-resolution (Timofte et al., 2016, "Seven ways to improve example-based single
    image super resolution"), with the one symmetry that a face has.

    Args:
        restore: (B, 3, H, W) to restored faces of the same shape.
        faces: (B, 3, H, W).

    Returns:
        (B, 3, H, W) float32.
    """
    return (restore(faces).float() + restore(faces.flip(-1)).float().flip(-1)) / 2
