"""Chooses which of the faces in a picture are restored, and says why others are left alone."""

import numpy as np

from memgan.faces.align import Face, most_central
from memgan.faces.detect import FaceDetector, RetinaFaceDetector
from memgan.faces.select import detected_faces
from memgan.restoration.options import RestoreOptions
from memgan.restoration.result import LeftAlone


def choose_faces(
    detector: FaceDetector, rgb: np.ndarray, options: RestoreOptions
) -> tuple[list[Face], list[LeftAlone]]:
    """The faces to restore, in the detector's order, and what else the detector found.

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
    left_alone = [LeftAlone(face, "doubtful") for face in doubtful]
    faces = []
    for face in found:
        reason = reason_against(face, options)
        if reason is None:
            faces.append(face)
        else:
            left_alone.append(LeftAlone(face, reason))
    chosen = faces
    if options.face_index is not None:
        chosen = [chosen[index] for index in options.face_index if index < len(chosen)]
    if options.only_center_face and chosen:
        chosen = [most_central(chosen, rgb.shape[1], rgb.shape[0])]
    return chosen, left_alone + [LeftAlone(face, "not chosen") for face in faces if face not in chosen]


def reason_against(face: Face, options: RestoreOptions) -> str | None:
    """Why the options leave out a face, in the words of :class:`LeftAlone`; ``None``: they do not."""
    if options.score_threshold is not None and face.score < options.score_threshold:
        return "doubtful"
    if face.eye_distance < options.min_eye_distance or face.size < options.min_face_size:
        return "too small"
    if options.max_face_size is not None and face.size > options.max_face_size:
        return "too large"
    return None
