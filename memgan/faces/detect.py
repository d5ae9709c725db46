"""Finds faces: several passes of one RetinaFace network over a picture, merged into one list."""

import dataclasses
import os
from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
import torch

from memgan.errors import ConfigError, ImageError
from memgan.faces.align import Face
from memgan.faces.anchors import Detections, decode, merge_by_box_voting
from memgan.faces.refine import refine_landmarks
from memgan.runtime.checks import check_choice
from memgan.runtime.choices import DETECTORS

RawNetwork = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""(H, W, 3) uint8 RGB to locations (N, 4), face scores (N,) and landmark offsets (N, 10), one row per anchor."""

# Candidates above the first number are refined if they are among the best few, and count as faces if the refined score
# reaches the second number (measured: real faces reach it at any rotation, no texture tried did). Faces above the
# detector's threshold need less, but the refining pass must see a face too.
_CANDIDATE_SCORE = 0.6
_CERTAIN_SCORE = 0.99
_CONFIRMING_SCORE = 0.5
_MAX_DOUBTFUL = 8
_VOTE_THRESHOLD = 0.5  # in one pass: what may help to place a face
_PADDING = 0.25  # of the longer side, for tight crops


class FaceDetector(Protocol):
    """Anything that finds faces."""

    def detect(self, image: np.ndarray) -> list[Face]:
        """Faces of a picture (H, W, 3) uint8 RGB, largest first; an empty list if there are none."""
        ...


class RetinaFaceDetector:
    """Runs a RetinaFace network on a picture at several sizes; keeps no state, so threads may share it."""

    def __init__(
        self,
        network: RawNetwork,
        *,
        score_threshold: float = 0.9,
        long_side: int = 640,
        fine_long_side: int = 1280,
    ) -> None:
        """Put a detector together.

        Args:
            network: gives the raw outputs for one picture.
            score_threshold: faces scoring less are left out, over 0 to 1.
            long_side: longer side in pixels of the picture in the first pass; smaller pictures stay as they are.
            fine_long_side: the same for the second pass, which finds the small faces of large pictures.

        Raises:
            ConfigError: if a number is outside its range.
        """
        if not 0 < score_threshold < 1:
            raise ConfigError(f"score_threshold is {score_threshold}; allowed are numbers between 0 and 1, such as 0.9")
        if not 64 <= long_side <= fine_long_side:
            raise ConfigError(
                f"long_side is {long_side} and fine_long_side {fine_long_side}; allowed are 64 <= long <= fine"
            )
        self._network = network
        self._score_threshold = score_threshold
        self._long_side = long_side
        self._fine_long_side = fine_long_side

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
        small = _shrunk(image, self._long_side)
        scale = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
        passes = [self._detect_pass(small, self._long_side).rescaled(*scale)]
        if max(image.shape[:2]) > 1.25 * self._long_side and self._fine_long_side > self._long_side:
            passes.append(self._detect_pass(image, self._fine_long_side))
        faces = self._confirmed(image, merge_by_box_voting(passes))
        if not faces:
            faces = self._confirmed(image, merge_by_box_voting([self._detect_padded(small).rescaled(*scale)]))
            if not faces:
                turned = [self._detect_turned(small, quarter_turns).rescaled(*scale) for quarter_turns in (1, 2, 3)]
                faces = self._confirmed(image, merge_by_box_voting(turned))
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def locate(self, image: np.ndarray, face: Face) -> Face | None:
        """Find the landmarks of a face of which only the box is known; ``None`` if there is no face to be found.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: its box counts; its landmarks may be guesses.
        """
        _check(image)
        return refine_landmarks(self._network, image, face)

    def _confirmed(self, image: np.ndarray, found: Detections) -> list[Face]:
        """The candidates that the refining pass accepts; each face once."""
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

    def _detect_pass(self, image: np.ndarray, long_side: int) -> Detections:
        """Run the network on the picture shrunk to ``long_side``; candidates in pixels of ``image``."""
        small = _shrunk(image, long_side)
        height, width = small.shape[:2]
        found = decode(*self._network(small), height, width, min(_VOTE_THRESHOLD, self._score_threshold))
        return found.rescaled(image.shape[1] / width, image.shape[0] / height)

    def _detect_padded(self, image: np.ndarray) -> Detections:
        """A pass over the picture with its mirror image around it, without the faces in that."""
        height, width = image.shape[:2]
        border = round(_PADDING * max(height, width))
        padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REFLECT_101)
        found = self._detect_pass(padded, self._long_side).shifted(-border, -border)
        centers = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        return found.select(((centers >= -0.5) & (centers <= (width - 0.5, height - 0.5))).all(axis=1))

    def _detect_turned(self, image: np.ndarray, quarter_turns: int) -> Detections:
        """A pass over the picture turned counterclockwise; candidates in pixels of ``image``."""
        height, width = image.shape[:2]
        found = self._detect_pass(np.ascontiguousarray(np.rot90(image, quarter_turns)), self._long_side)
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarter_turns]
        turn_back = np.array([[cosine, -sine], [sine, cosine]], np.float32)
        shift = np.array({1: (width - 1, 0), 2: (width - 1, height - 1), 3: (0, height - 1)}[quarter_turns], np.float32)
        corners = found.boxes.reshape(-1, 2, 2) @ turn_back.T + shift
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return Detections(boxes, found.landmarks @ turn_back.T + shift, found.scores, found.weights)


def _shrunk(image: np.ndarray, long_side: int) -> np.ndarray:
    """The picture with its longer side brought down to ``long_side``, or as it is if it is not longer."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


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
) -> RetinaFaceDetector:
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
        WeightsError: if weights are missing or damaged.
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
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"detector was given {given}; allowed is an RGB array (H, W, 3) of uint8")
    if 0 in image.shape:
        raise ImageError(f"detector was given an empty picture {image.shape}")
