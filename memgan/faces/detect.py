"""Finds faces: several passes of one RetinaFace network over a picture, merged into one list."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import torch

from memgan.errors import ImageError
from memgan.faces.align import Face
from memgan.faces.anchors import Detections, RawNetwork, decode, merge_by_box_voting
from memgan.faces.refine import refine_landmarks
from memgan.image import resize
from memgan.runtime.checks import check_choice, check_number
from memgan.runtime.choices import DETECTORS

# Candidates above the first number are refined if they are among the best few, and count as faces if the refined score
# reaches the second number (measured: real faces reach it at any rotation, no texture tried did). Faces above the
# detector's threshold need less, but the refining pass must see a face too.
_CANDIDATE_SCORE = 0.6
_CERTAIN_SCORE = 0.99
_CONFIRMING_SCORE = 0.5
_MAX_DOUBTFUL = 8
_VOTE_THRESHOLD = 0.5  # in one pass: what may help to place a face
_PADDING = 0.25  # of the longer side, for tight crops
_LONG_SIDE, _FINE_LONG_SIDE = 640, 1280  # pixels, of a picture in the first pass, and in the second for small faces


class FaceDetector(Protocol):
    """Anything that finds faces."""

    def detect(self, image: np.ndarray) -> list[Face]:
        """Faces of a picture (H, W, 3) uint8 RGB, largest first; an empty list if there are none."""
        ...


class RetinaFaceDetector:
    """Runs a RetinaFace network on a picture at several sizes; keeps no state, so threads may share it."""

    def __init__(self, network: RawNetwork, *, score_threshold: float = 0.9) -> None:
        """``network`` gives the raw outputs for one picture; faces scoring less than ``score_threshold`` are left out.

        Raises:
            ConfigError: if the threshold is not over 0 to 1.
        """
        self._network = network
        self._score_threshold = check_number("score_threshold", score_threshold, 0, 1, low_allowed=False)

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces of a picture.

        The landmarks of every face are refined, which makes them precise at any size and rotation. If there are none,
        the picture may be a tight crop: further passes see it with its mirror image around it, then turned by 90, 180
        and 270 degrees.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Faces in pixels of ``image``, largest box first; empty if there are none.

        Raises:
            ImageError: if the array is of another kind.
        """
        _check(image)
        small = _shrunk(image, _LONG_SIDE)
        passes = [self._detect_pass(small).rescaled(small.shape, image.shape)]
        if max(image.shape[:2]) > 1.25 * _LONG_SIDE:
            passes.append(self._detect_pass(image, _FINE_LONG_SIDE))
        faces = self._confirmed(image, passes)
        if not faces:
            faces = self._confirmed(image, [self._detect_padded(small).rescaled(small.shape, image.shape)])
        if not faces:
            turned = [self._detect_turned(small, quarter_turns) for quarter_turns in (1, 2, 3)]
            faces = self._confirmed(image, [found.rescaled(small.shape, image.shape) for found in turned])
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def locate(self, image: np.ndarray, face: Face) -> Face | None:
        """Find the landmarks of a face of which only the box is known; ``None`` if there is no face to be found.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: its box counts; its landmarks may be guesses.
        """
        _check(image)
        return refine_landmarks(self._network, image, face)

    def _confirmed(self, image: np.ndarray, passes: Sequence[Detections]) -> list[Face]:
        """The candidates that the refining pass accepts; each face once."""
        found = merge_by_box_voting(passes)
        faces: list[Face] = []
        doubtful = 0
        for box, landmarks, score in zip(found.boxes, found.landmarks, found.scores.tolist(), strict=True):
            is_doubtful = score < self._score_threshold
            doubtful += is_doubtful
            if score < _CANDIDATE_SCORE or doubtful > _MAX_DOUBTFUL:
                break  # they come in the order of their scores
            face = refine_landmarks(self._network, image, Face(box, landmarks, score))
            needed = max(_CERTAIN_SCORE, self._score_threshold) if is_doubtful else _CONFIRMING_SCORE
            if face is not None and face.score >= needed and not any(_same(face, other) for other in faces):
                faces.append(dataclasses.replace(face, score=max(face.score, score)))
        return faces

    def _detect_pass(self, image: np.ndarray, long_side: int = _LONG_SIDE) -> Detections:
        """Run the network on the picture shrunk to ``long_side``; candidates in pixels of ``image``."""
        small = _shrunk(image, long_side)
        height, width = small.shape[:2]
        found = decode(*self._network(small), height, width, min(_VOTE_THRESHOLD, self._score_threshold))
        return found.rescaled(small.shape, image.shape)

    def _detect_padded(self, image: np.ndarray) -> Detections:
        """A pass over the picture with its mirror image around it, without the faces in that."""
        height, width = image.shape[:2]
        border = round(_PADDING * max(height, width))
        padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REFLECT_101)
        found = self._detect_pass(padded).mapped(lambda points: points - np.float32(border))
        centers = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        return found.select(((centers >= -0.5) & (centers <= (width - 0.5, height - 0.5))).all(axis=1))

    def _detect_turned(self, image: np.ndarray, quarter_turns: int) -> Detections:
        """A pass over the picture turned counterclockwise; candidates in pixels of ``image``."""
        bottom, right = image.shape[0] - 1, image.shape[1] - 1

        def turned_back(points: np.ndarray) -> np.ndarray:
            x, y = points[..., 0], points[..., 1]
            return np.stack({1: (right - y, x), 2: (right - x, bottom - y), 3: (y, bottom - x)}[quarter_turns], axis=-1)

        return self._detect_pass(np.ascontiguousarray(np.rot90(image, quarter_turns))).mapped(turned_back)


def _shrunk(image: np.ndarray, long_side: int) -> np.ndarray:
    """The picture with its longer side brought down to ``long_side``, or as it is if it is not longer."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    return image if scale >= 1 else resize(image, max(1, round(width * scale)), max(1, round(height * scale)))


def _same(first: Face, second: Face) -> bool:
    """Whether the landmarks of two faces lie on one another (nearer than a third of the eye distance on average)."""
    distance = np.linalg.norm(first.landmarks - second.landmarks, axis=1).mean()
    return bool(distance < max(first.eye_distance, second.eye_distance) / 3)


def create_detector(
    name: str = "embedded",
    *,
    device: str | torch.device = "cpu",
    weights_dir: str | os.PathLike[str] | None = None,
    score_threshold: float | None = None,
    offline: bool | None = None,
) -> FaceDetector:
    """Build a detector by name.

    Args:
        name: ``embedded`` (RetinaFace mobilenet0.25 inside the installation, on the CPU), or facexlib's
            ``retinaface_mobile0.25`` or ``retinaface_resnet50`` (larger, more careful, 104 MB to download).
        device: torch device of facexlib's networks.
        weights_dir: folder with facexlib's weight files.
        score_threshold: faces scoring less are left out, over 0 to 1; ``None``: 0.9.
        offline: never download; ``None``: as the environment variable ``HF_HUB_OFFLINE`` says.

    Raises:
        ConfigError: if the name or the threshold is not allowed.
        MissingDependencyError: if a package that this detector needs is not installed.
        WeightsError: if its weights are missing or damaged.
    """
    check_choice("detector", name, DETECTORS)
    network: RawNetwork
    if name == "embedded":
        from memgan.faces.retinaface import EmbeddedRetinaFace

        network = EmbeddedRetinaFace()
    else:
        from memgan.faces.facexlib_adapter import FacexlibRetinaFace

        network = FacexlibRetinaFace(name, device=device, weights_dir=weights_dir, offline=offline)
    return RetinaFaceDetector(network, score_threshold=0.9 if score_threshold is None else score_threshold)


def _check(image: np.ndarray) -> None:
    is_array = isinstance(image, np.ndarray)
    if not is_array or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        given = f"{image.dtype} {image.shape}" if is_array else type(image).__name__
        raise ImageError(f"detector was given {given}; allowed is an RGB array (H, W, 3) of uint8 with pixels in it")
