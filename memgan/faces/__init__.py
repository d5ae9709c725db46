"""Faces in pictures: detection, alignment and pasting back. Knows no restoration network."""

from memgan.faces.align import (
    FFHQ_TEMPLATE,
    AlignedFace,
    align,
    crop_from_box_matrix,
    crop_from_image_matrix,
)
from memgan.faces.detect import DETECTORS, FaceDetector, RetinaFaceDetector, create_detector
from memgan.faces.mask import soft_mask
from memgan.faces.paste import paste
from memgan.faces.types import Face, most_central

__all__ = [
    "DETECTORS",
    "FFHQ_TEMPLATE",
    "AlignedFace",
    "Face",
    "FaceDetector",
    "RetinaFaceDetector",
    "align",
    "create_detector",
    "crop_from_box_matrix",
    "crop_from_image_matrix",
    "most_central",
    "paste",
    "soft_mask",
]
