"""Cuts faces out of pictures so that their landmarks lie where the restoration network expects them."""

import dataclasses

import cv2
import numpy as np

from memgan.errors import ImageError
from memgan.faces.types import Face
from memgan.faces.warp import compose_affine, invert_affine, resize_matrix, square_bounds, warp
from memgan.image import resize

FFHQ_SIZE_PX = 512
FFHQ_TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ],
    np.float64,
)
"""(5, 2) mean landmarks (x, y) of FFHQ faces in a 512 px crop, in the order of :class:`~memgan.faces.Face`."""
FFHQ_TEMPLATE.setflags(write=False)

# Landmarks count as degenerate if the best similarity leaves more than this share of the template's spread
# unexplained. Frontal faces leave about 0.1, full profiles up to 0.5, mirrored or scrambled points 0.8 and more.
_MAX_RESIDUAL = 0.7
_MIN_SPREAD_PX = 1.0
# Center (x, y) and longer side of a detector's box around a face that is aligned to the template, in 512 px units.
_BOX_CENTER = (258.0, 282.0)
_BOX_SIDE = 372.0


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AlignedFace(Face):
    """A face, and what the network sees of it; S is the network's side."""

    crop: np.ndarray
    """(S, S, 3) uint8 RGB, aligned."""
    crop_from_image: np.ndarray
    """(2, 3) float64 similarity from picture coordinates to crop coordinates (both at pixel centers)."""

    @property
    def image_from_crop(self) -> np.ndarray:
        """(2, 3) float64 similarity from crop coordinates to picture coordinates."""
        return invert_affine(self.crop_from_image)


def fit_similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares rotation, uniform scale and shift that send ``source`` to ``target``, without mirroring.

    Args:
        source: (N, 2) points that do not all coincide.
        target: (N, 2) points.

    Returns:
        matrix: (2, 3) float64.
        residual: root mean square distance left, relative to the root mean square spread of ``target``.
    """
    source, target = source.astype(np.float64), target.astype(np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    # As complex numbers a similarity is z -> a z + b, and the best a is a quotient of inner products.
    centered = (source - source_mean) @ (1, 1j)
    wanted = (target - target_mean) @ (1, 1j)
    factor = np.vdot(centered, wanted) / np.vdot(centered, centered).real
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    residual = np.linalg.norm(wanted - factor * centered) / np.linalg.norm(wanted)
    return np.column_stack([linear, target_mean - linear @ source_mean]), float(residual)


def fit_to_template(landmarks: np.ndarray, size_px: int = FFHQ_SIZE_PX) -> np.ndarray | None:
    """Similarity (2, 3) from picture coordinates to a crop of ``size_px`` that fits five landmarks (5, 2) best.

    ``None``: they are degenerate, which is not finite, nearly in one place, or not arranged like a face in any
    rotation (a mirrored one counts as none).
    """
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        return None
    landmarks = landmarks.astype(np.float64)
    spread = np.sqrt(np.square(landmarks - landmarks.mean(axis=0)).sum(axis=1).mean())
    if spread < _MIN_SPREAD_PX:
        return None
    matrix, residual = fit_similarity(landmarks, FFHQ_TEMPLATE)
    return (
        compose_affine(resize_matrix(size_px / FFHQ_SIZE_PX, size_px / FFHQ_SIZE_PX), matrix)
        if residual <= _MAX_RESIDUAL
        else None
    )


def crop_from_image_matrix(landmarks: np.ndarray, size_px: int = FFHQ_SIZE_PX) -> np.ndarray:
    """Similarity that aligns five landmarks with the FFHQ template.

    Args:
        landmarks: (5, 2) in picture pixels.
        size_px: side of the crop in pixels; the template is scaled to it.

    Returns:
        (2, 3) float64 matrix from picture coordinates to crop coordinates.

    Raises:
        ImageError: if the points are not finite, coincide, or are not arranged like a face.
    """
    landmarks = np.asarray(landmarks)
    matrix = fit_to_template(landmarks, size_px)
    if matrix is None:
        raise ImageError(
            f"landmarks {landmarks.tolist()} cannot be aligned; allowed are five (x, y) points of a face: left eye, "
            "right eye, nose, left and right mouth corner as seen in the picture; correct or leave out this face"
        )
    return matrix


def crop_from_box_matrix(box_xyxy: np.ndarray, size_px: int = FFHQ_SIZE_PX) -> np.ndarray:
    """Upright similarity that puts a detector's box where the box of an aligned face usually is.

    Raises:
        ImageError: if the box is not finite or not at least one pixel wide and high.
    """
    box = np.asarray(box_xyxy, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] - box[:2]).min() < 1:
        raise ImageError(
            f"face box {box.tolist()} cannot be aligned; allowed is (left, top, right, bottom) in pixels with "
            "right > left and bottom > top; correct or leave out this face"
        )
    scale = _BOX_SIDE / (box[2:] - box[:2]).max()
    shift = np.array(_BOX_CENTER) - scale * (box[:2] + box[2:]) / 2
    return compose_affine(
        resize_matrix(size_px / FFHQ_SIZE_PX, size_px / FFHQ_SIZE_PX), np.column_stack([np.eye(2) * scale, shift])
    )


def align(image: np.ndarray, face: Face, size_px: int = FFHQ_SIZE_PX) -> AlignedFace:
    """Cut out one face, upright and at the size of the template.

    Landmarks that are degenerate (coinciding, scrambled, mirrored) are replaced by the position of the box. Faces
    larger than the crop are averaged down; what lies outside the picture is its mirror image.

    Args:
        image: (H, W, 3) uint8 RGB.
        face: where, in pixels of ``image``.
        size_px: side of the crop.

    Raises:
        ImageError: if neither the landmarks nor the box of ``face`` can be used.
    """
    matrix = fit_to_template(np.asarray(face.landmarks), size_px)
    if matrix is None:
        matrix = crop_from_box_matrix(face.box_xyxy, size_px)
    crop = crop_region(image, matrix, size_px)
    return AlignedFace(face.box_xyxy, face.landmarks, face.score, face.grain_seed, crop=crop, crop_from_image=matrix)


def align_whole(image: np.ndarray, size_px: int = FFHQ_SIZE_PX) -> AlignedFace:
    """Take a whole picture (H, W, 3) uint8 RGB for an aligned face: it is only resized."""
    height, width = image.shape[:2]
    landmarks = (FFHQ_TEMPLATE + 0.5) * np.array([width, height]) / FFHQ_SIZE_PX - 0.5
    return AlignedFace(
        np.array([-0.5, -0.5, width - 0.5, height - 0.5], np.float32),
        landmarks.astype(np.float32),
        1.0,
        crop=resize(image, size_px, size_px),
        crop_from_image=resize_matrix(size_px / width, size_px / height),
    )


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
