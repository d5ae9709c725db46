"""Finds faces: several passes of one RetinaFace network over a picture, merged into one list."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch

from memgan.errors import ConfigError, ImageError
from memgan.faces.align import Face
from memgan.faces.anchors import Detections, RawNetwork, decode, merge_by_box_voting
from memgan.faces.refine import refine_landmarks, second_look
from memgan.image import resize
from memgan.runtime.checks import check_choice, check_number
from memgan.runtime.choices import DETECTORS

# A find is certain if its score in the whole picture, or that of the refining pass, reaches one of the first two
# numbers, and if the refining pass sees a face too. Small and other finds must also hold on a second look.
_CERTAIN_FIND = 0.9
_CERTAIN_SCORE = 0.99
_CONFIRMING_SCORE = 0.5
_SMALL_PX = 64  # the longer side of a box below which chance patterns look like faces
_SMALL_HOLDS, _OTHERS_HOLD = 0.93, 0.65  # least mean score on a second look; large faces may be cut, turned or covered
_HIGHEST_UNCERTAIN = 0.89  # score of a find that is not certain
# Finds of a lower score in the whole picture are not looked at, unless the threshold is lower still; of those that are
# not certain at once, the best few are.
_CANDIDATE_SCORE = 0.6
_LEAST_CANDIDATE_SCORE = 0.05
_MAX_DOUBTFUL = 8
_MAX_DOUBTFUL_IF_ASKED = 40
_VOTE_THRESHOLD = 0.5  # in one pass: what may help to place a face
_PANORAMA = 3  # sides of a picture that is looked at in parts
_PADDING = 0.25  # of the longer side, for tight crops
_LONG_SIDE, _FINE_LONG_SIDE = 640, 1280  # pixels, of a picture in the first pass, and in the second for small faces


class FaceDetector(Protocol):
    """Anything that finds faces."""

    def detect(self, image: np.ndarray) -> list[Face]:
        """Faces of a picture (H, W, 3) uint8 RGB, largest first; an empty list if there are none."""
        ...


class Finds(NamedTuple):
    """What a detector found, largest box first each."""

    faces: list[Face]
    """Faces."""
    doubtful: list[Face]
    """What scores less than the threshold: chance patterns, animals, drawings, heads from behind, perhaps a face."""


class RetinaFaceDetector:
    """Runs a RetinaFace network on a picture at several sizes; keeps no state, so threads may share it."""

    def __init__(self, network: RawNetwork, *, score_threshold: float = 0.9) -> None:
        """``network`` gives the raw outputs for one picture; faces scoring less than ``score_threshold`` are left out.

        The score of a certain find is the better one of those in the whole picture and in a crop of it. Others score
        below 0.9: by how much they look like faces at several sizes and in a mirror. So 0.9 leaves out all that is not
        certain, lower numbers take in more, 0 whatever looks remotely like a face, and 1 next to nothing.

        Raises:
            ConfigError: if the threshold is not from 0 to 1.
        """
        self._network = network
        self.score_threshold = check_number("score_threshold", score_threshold, 0, 1)

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
        return self.find(image).faces

    def find(self, image: np.ndarray) -> Finds:
        """As :meth:`detect`, with what was taken for no face after a second look."""
        _check(image)
        passes = [self._detect_pass(part).mapped(shift) for part, shift in _parts(image)]
        if max(image.shape[:2]) > 1.25 * _LONG_SIDE:
            passes += [self._detect_pass(part, _FINE_LONG_SIDE).mapped(shift) for part, shift in _parts(image)]
        finds = self._examined(image, passes)
        small = _shrunk(image, _LONG_SIDE)
        if not _any_certain(finds):
            finds = self._examined(image, [self._detect_padded(small).rescaled(small.shape, image.shape)], finds)
        if not _any_certain(finds):
            turned = [self._detect_turned(small, quarter_turns) for quarter_turns in (1, 2, 3)]
            finds = self._examined(image, [found.rescaled(small.shape, image.shape) for found in turned], finds)
        finds = sorted(finds, key=lambda face: face.area, reverse=True)
        faces = [face for face in finds if face.score >= self.score_threshold]
        return Finds(faces, [face for face in finds if face.score < self.score_threshold])

    def locate(self, image: np.ndarray, face: Face) -> Face | None:
        """Find the landmarks of a face of which only the box is known; ``None`` if there is no face to be found.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: its box counts; its landmarks may be guesses.
        """
        _check(image)
        return refine_landmarks(self._network, image, face)

    def _examined(self, image: np.ndarray, passes: Sequence[Detections], known: Sequence[Face] = ()) -> list[Face]:
        """The candidates in which the refining pass sees a face, with their final scores, and the known; each once."""
        found = merge_by_box_voting(passes)
        finds = list(known)
        left = _MAX_DOUBTFUL if self.score_threshold >= _CANDIDATE_SCORE else _MAX_DOUBTFUL_IF_ASKED
        for box, landmarks, score in zip(found.boxes, found.landmarks, found.scores.tolist(), strict=True):
            left -= score < _CERTAIN_FIND
            if score < self._least_candidate or left < 0:
                break  # they come in the order of their scores
            face = refine_landmarks(self._network, image, Face(box, landmarks, score))
            twins = [] if face is None else [other for other in finds if _same(face, other)]
            if face is None or _any_certain(twins):
                continue
            face = dataclasses.replace(face, score=self._final_score(image, face, score))
            if all(face.score > twin.score for twin in twins):
                finds = [other for other in finds if other not in twins] + [face]
        return finds

    def _final_score(self, image: np.ndarray, face: Face, first_score: float) -> float:
        """The score of a face that the refining pass gave, and that scored ``first_score`` in the whole picture."""
        is_small = face.size < _SMALL_PX
        is_clear = first_score >= _CERTAIN_FIND and face.score >= _CERTAIN_SCORE
        if is_clear and not is_small:
            return max(face.score, first_score)
        looks = second_look(self._network, image, face)
        is_seen = first_score >= _CERTAIN_FIND or face.score >= _CERTAIN_SCORE
        if is_seen and face.score >= _CONFIRMING_SCORE and looks >= (_SMALL_HOLDS if is_small else _OTHERS_HOLD):
            return max(face.score, first_score)
        return min(looks, _HIGHEST_UNCERTAIN)

    @property
    def _least_candidate(self) -> float:
        return max(min(_CANDIDATE_SCORE, self.score_threshold), _LEAST_CANDIDATE_SCORE)

    def _detect_pass(self, image: np.ndarray, long_side: int = _LONG_SIDE) -> Detections:
        """Run the network on the picture shrunk to ``long_side``; candidates in pixels of ``image``."""
        small = _shrunk(image, long_side)
        height, width = small.shape[:2]
        found = decode(*self._network(small), height, width, min(_VOTE_THRESHOLD, self._least_candidate))
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


def _parts(image: np.ndarray) -> Iterator[tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]:
    """The picture; or of a panorama, whose faces would be too small when all of it is shrunk, overlapping parts.

    Each with the function that moves points of the part to their places in the picture. A face fits into one of them.
    """
    short, long = sorted(image.shape[:2])
    if long <= _PANORAMA * short:
        yield image, functools.partial(np.add, np.float32(0))
        return
    length = max(2 * short, _FINE_LONG_SIDE)
    is_wide = image.shape[1] == long
    for start in range(0, max(long - short, 1), length - short):
        part = image[:, start : start + length] if is_wide else image[start : start + length]
        offset = np.array([start, 0] if is_wide else [0, start], np.float32)
        yield np.ascontiguousarray(part), functools.partial(np.add, offset)


def _shrunk(image: np.ndarray, long_side: int) -> np.ndarray:
    """The picture with its longer side brought down to ``long_side``, or as it is if it is not longer."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    return image if scale >= 1 else resize(image, max(1, round(width * scale)), max(1, round(height * scale)))


def _any_certain(faces: Sequence[Face]) -> bool:
    return any(face.score >= _CERTAIN_FIND for face in faces)


def _same(first: Face, second: Face) -> bool:
    """Whether the landmarks of two faces lie on one another: nearer than a ninth of the larger face on average.

    That is a third of the eye distance, which profiles do not have.
    """
    distance = np.linalg.norm(first.landmarks - second.landmarks, axis=1).mean()
    return bool(distance < max(first.size, second.size) / 9)


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
        weights_dir: folder with facexlib's weight files; the embedded detector has none.
        score_threshold: faces scoring less are left out, 0 to 1, see :class:`RetinaFaceDetector`; ``None``: 0.9.
        offline: never download; ``None``: as the environment variable ``HF_HUB_OFFLINE`` says.

    Raises:
        ConfigError: if the name or the threshold is not allowed, or weights are given for the embedded detector.
        MissingDependencyError: if a package that this detector needs is not installed.
        WeightsError: if its weights are missing or damaged.
    """
    check_choice("detector", name, DETECTORS)
    network: RawNetwork
    if name == "embedded":
        if weights_dir is not None:
            raise ConfigError(
                f"weights_dir (--detector-weights) is {os.fspath(weights_dir)!r}, but the embedded detector has its "
                f"network with it; leave it out, or choose another detector: {', '.join(DETECTORS[1:])}."
            )
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
