"""Detects, aligns and pastes back faces; knows no restoration network."""

from memgan.faces.align import FFHQ_TEMPLATE, AlignedFace, Face, align, crop_from_box_matrix, most_central
from memgan.faces.detect import FaceDetector, Finds, RetinaFaceDetector, create_detector
from memgan.faces.harmonize import lock_color
from memgan.faces.parsing import MaskMaker, create_parser
from memgan.faces.paste import paste, soft_mask
from memgan.faces.select import given_faces
from memgan.runtime.choices import DETECTORS, PARSERS

__all__ = [
    "DETECTORS",
    "FFHQ_TEMPLATE",
    "PARSERS",
    "AlignedFace",
    "Face",
    "FaceDetector",
    "Finds",
    "MaskMaker",
    "RetinaFaceDetector",
    "align",
    "create_detector",
    "create_parser",
    "crop_from_box_matrix",
    "given_faces",
    "lock_color",
    "most_central",
    "paste",
    "soft_mask",
]
