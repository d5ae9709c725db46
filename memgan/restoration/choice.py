"""Chooses which of the faces in a picture are restored, and says why others are left alone."""

from typing import NamedTuple

import numpy as np

from memgan.faces.align import Face, most_central
from memgan.faces.detect import FaceDetector, RetinaFaceDetector
from memgan.faces.select import detected_faces
from memgan.restoration.options import RestoreOptions
from memgan.restoration.result import LeftAlone


class Choice(NamedTuple):
    """The faces of a picture, and which of them are restored."""

    found: list[Face]
    """In the detector's order, without :attr:`excluded`."""
    numbers: list[int]
    """Of those to restore, in the order in which they are wanted; the others are not chosen."""
    excluded: list[LeftAlone]
    """What the detector or the options leave out."""


def choose_faces(detector: FaceDetector, rgb: np.ndarray, options: RestoreOptions) -> Choice:
    """The faces that a detector finds, which of them to restore, and what is left out.

    Args:
        detector: finds them; doubtful finds are known of :class:`~memgan.faces.RetinaFaceDetector` only.
        rgb: (H, W, 3) uint8 RGB.
        options: those about faces count.

    Raises:
        ConfigError: if the detector gives no faces, see :func:`memgan.faces.select.detected_faces`.
    """
    doubtful: list[Face] = []
    if isinstance(detector, RetinaFaceDetector):
        found, doubtful = detector.find(rgb)
    else:
        # A copy: some detectors draw into the picture, which may be the caller's.
        found = detected_faces(detector.detect(rgb.copy()), rgb)
    excluded = [LeftAlone(face, "doubtful") for face in doubtful]
    faces = []
    for face in found:
        reason = reason_against(face, options)
        if reason is None:
            faces.append(face)
        else:
            excluded.append(LeftAlone(face, reason))
    numbers = list(range(len(faces)))
    if options.face_index is not None:
        numbers = [index for index in options.face_index if index < len(faces)]
    if options.only_center_face and numbers:
        central = most_central([faces[number] for number in numbers], rgb.shape[1], rgb.shape[0])
        numbers = [faces.index(central)]
    return Choice(faces, numbers, excluded)


def reason_against(face: Face, options: RestoreOptions) -> str | None:
    """Why the options leave out a face, in the words of :class:`LeftAlone`; ``None``: they do not."""
    if options.score_threshold is not None and face.score < options.score_threshold:
        return "doubtful"
    if face.eye_distance < options.min_eye_distance or face.size < options.min_face_size:
        return "too small"
    if options.max_face_size is not None and face.size > options.max_face_size:
        return "too large"
    return None
