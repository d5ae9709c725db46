"""Detects, aligns and pastes back faces; knows no restoration network."""

from memgan.faces.align import FFHQ_TEMPLATE, AlignedFace, align, crop_from_box_matrix, crop_from_image_matrix
from memgan.faces.color import lock_color
from memgan.faces.detect import FaceDetector, RetinaFaceDetector, create_detector
from memgan.faces.mask import MaskMaker, soft_mask
from memgan.faces.parsing import create_parser
from memgan.faces.paste import paste
from memgan.faces.select import given_faces
from memgan.faces.types import Face, most_central
from memgan.runtime.choices import DETECTORS, PARSERS

__all__ = [
    "DETECTORS",
    "FFHQ_TEMPLATE",
    "PARSERS",
    "AlignedFace",
    "Face",
    "FaceDetector",
    "MaskMaker",
    "RetinaFaceDetector",
    "align",
    "create_detector",
    "create_parser",
    "crop_from_box_matrix",
    "crop_from_image_matrix",
    "given_faces",
    "lock_color",
    "most_central",
    "paste",
    "soft_mask",
]
