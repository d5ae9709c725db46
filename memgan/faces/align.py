"""Defines faces, and cuts them out so that their landmarks lie where the restoration network expects them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from memgan.errors import ImageError
from memgan.faces.warp import crop_region, invert_affine, rescale_affine
from memgan.image import resize
from memgan.runtime.short_repr import short_repr

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


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """One detected face, in pixels of the picture it was found in.

    Coordinates follow OpenCV: the center of the top left pixel is (0, 0), so the picture covers -0.5 to width - 0.5.
    A face may reach beyond the picture.
    """

    box_xyxy: np.ndarray
    """(4,) float32: left, top, right, bottom."""
    landmarks: np.ndarray
    """(5, 2) float32 (x, y): the eye on the left of an upright picture, the other eye, the tip of the nose, the mouth
    corner on the left, the other mouth corner."""
    score: float
    """Confidence of the detector, 0 to 1."""
    grain_seed: int = 0
    """Of the noise that comes back with the restored face: a person may have the same, or another, in every frame."""

    __repr__ = short_repr

    @property
    def eye_distance(self) -> float:
        """Distance between the eyes in pixels."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        width, height = self.box_xyxy[2:] - self.box_xyxy[:2]
        return float(width * height)

    @property
    def size(self) -> float:
        """Longer side of the box in pixels."""
        return float((self.box_xyxy[2:] - self.box_xyxy[:2]).max())

    @property
    def center(self) -> tuple[float, float]:
        """Center (x, y) of the box."""
        left, top, right, bottom = self.box_xyxy.tolist()
        return (left + right) / 2, (top + bottom) / 2


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AlignedFace(Face):
    """A face, and what the network sees of it; S is the network's side."""

    crop: np.ndarray
    """(S, S, 3) uint8 RGB, aligned."""
    crop_from_image: np.ndarray
    """(2, 3) float64 similarity from picture coordinates to crop coordinates (both at pixel centers)."""

    __repr__ = short_repr

    @property
    def image_from_crop(self) -> np.ndarray:
        """(2, 3) float64 similarity from crop coordinates to picture coordinates."""
        return invert_affine(self.crop_from_image)


def most_central(faces: Sequence[Face], width: int, height: int) -> Face:
    """The face whose box center is nearest to the center of a ``width`` x ``height`` picture, to a tenth of a pixel.

    Of several, it is the largest, then the leftmost, then the topmost: whatever order they are found in.

    Raises:
        ValueError: if there is no face.
    """
    middle = ((width - 1) / 2, (height - 1) / 2)

    def rank(face: Face) -> tuple[float, ...]:
        distance = float(np.hypot(face.center[0] - middle[0], face.center[1] - middle[1]))
        return round(distance, 1), -face.area, *face.box_xyxy.tolist()

    return min(faces, key=rank)


def fit_to_template(
    landmarks: np.ndarray, size_px: int = FFHQ_SIZE_PX, max_residual: float = _MAX_RESIDUAL
) -> np.ndarray | None:
    """Least-squares rotation, uniform scale and shift that align landmarks with the FFHQ template, without mirroring.

    Args:
        landmarks: (5, 2) in picture pixels.
        size_px: side of the crop in pixels; the template is scaled to it.
        max_residual: root mean square distance that may be left, relative to the spread of the template.

    Returns:
        (2, 3) float64 matrix from picture coordinates to crop coordinates; ``None`` if the landmarks are degenerate:
        not finite, nearly in one place, or not arranged like a face in any rotation (a mirrored one counts as none).
    """
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        return None
    landmarks = landmarks.astype(np.float64)
    mean, template_mean = landmarks.mean(axis=0), FFHQ_TEMPLATE.mean(axis=0)
    # As complex numbers a similarity is z -> a z + b, and the best a is a quotient of inner products.
    centered, wanted = (landmarks - mean) @ (1, 1j), (FFHQ_TEMPLATE - template_mean) @ (1, 1j)
    power = np.vdot(centered, centered).real
    if power < len(landmarks) * _MIN_SPREAD_PX**2:
        return None
    factor = np.vdot(centered, wanted) / power
    if np.linalg.norm(wanted - factor * centered) / np.linalg.norm(wanted) > max_residual:
        return None
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    scale = size_px / FFHQ_SIZE_PX
    return rescale_affine(np.column_stack([linear, template_mean - linear @ mean]), scale, scale)


def crop_from_box_matrix(box_xyxy: np.ndarray, size_px: int = FFHQ_SIZE_PX) -> np.ndarray:
    """Upright similarity (2, 3) that puts a detector's box where the box of an aligned face usually is.

    Raises:
        ImageError: if the box is not finite or not at least one pixel wide and high.
    """
    box = np.asarray(box_xyxy, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] - box[:2]).min() < 1:
        raise ImageError(
            f"face box {box.tolist()} cannot be aligned; allowed is (left, top, right, bottom) in pixels with "
            "right > left and bottom > top; correct or leave out this face"
        )
    zoom, scale = _BOX_SIDE / (box[2:] - box[:2]).max(), size_px / FFHQ_SIZE_PX
    shift = np.array(_BOX_CENTER) - zoom * (box[:2] + box[2:]) / 2
    return rescale_affine(np.column_stack([np.eye(2) * zoom, shift]), scale, scale)


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
        crop_from_image=rescale_affine(np.eye(2, 3), size_px / width, size_px / height),
    )
