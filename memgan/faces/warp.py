"""Resamples pictures by anti-aliased affine maps, with all coordinates at pixel centers (OpenCV's convention)."""

import math

import cv2
import numpy as np

_SUPERSAMPLING = 2
_FILTER = 0.5  # standard deviation, in target pixels, of what a filter takes away besides the interpolation
_LEAST_FILTER = 0.2  # in source pixels: a narrower one is no filter any more


def invert_affine(matrix: np.ndarray) -> np.ndarray:
    """Inverse (2, 3) float64 of an affine matrix (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2].astype(np.float64))
    return np.hstack([linear, -linear @ matrix[:, 2:].astype(np.float64)])


def compose_affine(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The (2, 3) affine matrix that applies ``inner`` first, then ``outer``."""
    return np.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])


def rescale_affine(matrix: np.ndarray, scale_x: float, scale_y: float) -> np.ndarray:
    """An affine matrix (2, 3) for a target that is resized: its pixel *edges*, not centers, keep their place.

    The left edge of a picture is at -0.5, hence ``x' = scale * (x + 0.5) - 0.5``.
    """
    scale = np.array([[scale_x], [scale_y]], np.float64)
    return np.hstack([scale * matrix[:, :2], scale * matrix[:, 2:] + (scale - 1) / 2])


def square_bounds(matrix: np.ndarray, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest whole coordinates (x, y), int64, around the square crop that ``matrix`` (2, 3) moves."""
    last = size_px - 0.5
    edges = np.array([[-0.5, -0.5], [last, -0.5], [-0.5, last], [last, last]])
    corners = edges @ matrix[:, :2].T + matrix[:, 2]
    return np.floor(corners.min(axis=0)).astype(np.int64), np.ceil(corners.max(axis=0)).astype(np.int64)


def warp(
    source: np.ndarray,
    target_from_source: np.ndarray,
    width: int,
    height: int,
    border: int,
    *,
    exact: bool = True,
) -> np.ndarray:
    """Resample ``source`` on a grid of ``width`` x ``height`` pixels; shrinking averages, enlarging is bicubic.

    Args:
        source: (H, W) or (H, W, C), C at most 4, uint8, uint16 or float32.
        target_from_source: (2, 3) matrix that sends source coordinates to target coordinates.
        border: OpenCV border mode for what lies outside the source (constant: zero).
        exact: average over target pixels. ``False``: filter the source instead, which takes a third of the time.

    Returns:
        (height, width) or (height, width, C) of the source's type.
    """
    matrix = np.asarray(target_from_source, np.float64)
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    fine = 1
    if scale < 0.99:
        # First average whole blocks of source pixels, then sample finely and average that: together a box of about one
        # target pixel, whatever the angle.
        blocks = math.floor(1 / scale)
        if blocks > 1:
            small_width, small_height = (max(1, round(side / blocks)) for side in (source.shape[1], source.shape[0]))
            shrink = rescale_affine(np.eye(2, 3), small_width / source.shape[1], small_height / source.shape[0])
            source = cv2.resize(source, (small_width, small_height), interpolation=cv2.INTER_AREA)
            matrix = compose_affine(matrix, invert_affine(shrink))
        if exact:
            fine = _SUPERSAMPLING
            matrix = rescale_affine(matrix, fine, fine)
        else:
            scale = min(math.sqrt(abs(float(np.linalg.det(matrix[:, :2])))), 1.0)
            sigma = _FILTER * math.sqrt(1 / scale**2 - 1)
            if sigma >= _LEAST_FILTER:
                source = cv2.GaussianBlur(source, (0, 0), sigma)
    height_one, width_one = (int(side == 1) for side in source.shape[:2])
    if border == cv2.BORDER_REFLECT_101 and (height_one or width_one):
        # OpenCV 5 never returns from mirroring a single row or column; two equal ones are the same picture.
        source = cv2.copyMakeBorder(source, 0, height_one, 0, width_one, cv2.BORDER_REPLICATE)
    size = width * fine, height * fine
    sampled = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_CUBIC, borderMode=border)
    return sampled if fine == 1 else cv2.resize(sampled, (width, height), interpolation=cv2.INTER_AREA)


def crop_region(
    image: np.ndarray, crop_from_image: np.ndarray, size_px: int, border: int = cv2.BORDER_REFLECT_101
) -> np.ndarray:
    """Resample the square that ``crop_from_image`` sends to the crop: (S, S, 3), dtype of ``image``.

    What lies outside the picture is, by default, its mirror image: without the edge pixel twice, so that the edge stays
    as sharp as it is. ``border`` may be another OpenCV border mode.
    """
    image_from_crop = invert_affine(crop_from_image)
    low, high = square_bounds(image_from_crop, size_px)
    margin = int(np.ceil(np.linalg.norm(image_from_crop[:, 0]))) * 2 + 2  # reach of interpolation and averaging
    seen = []
    for first, last, side in zip(
        (low - margin).tolist(), (high + margin + 1).tolist(), image.shape[1::-1], strict=True
    ):
        # The part of the picture that is seen from first to last, directly or mirrored at the picture's edges.
        mirrored_first = 2 * side - last if last > side else first
        mirrored_last = -first if first < 0 else last
        start = min(max(min(first, mirrored_first), 0), side - 1)
        seen.append(slice(start, max(min(max(last, mirrored_last), side), start + 1)))
    matrix = crop_from_image.copy()
    matrix[:, 2] += crop_from_image[:, :2] @ (seen[0].start, seen[1].start)
    return warp(image[seen[1], seen[0]], matrix, size_px, size_px, border)
