"""Decodes RetinaFace's raw outputs into boxes, landmarks and scores in pixels, and merges them by box voting."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

RawNetwork = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""(H, W, 3) uint8 RGB to locations (N, 4), face scores (N,) and landmark offsets (N, 10), one row per anchor."""

# (stride, anchor sides) in pixels of the three feature maps, and the scale of the regressed offsets.
_LEVELS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
_CENTER_VARIANCE = 0.1
_SIZE_VARIANCE = 0.2
_BEST_SIDE_PX = 300.0
_SAME_FACE_OVERLAP = 0.4


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """N candidates of one pass over a picture."""

    boxes: np.ndarray
    """(N, 4) float32: left, top, right, bottom."""
    landmarks: np.ndarray
    """(N, 5, 2) float32."""
    scores: np.ndarray
    """(N,) float32, 0 to 1."""
    weights: np.ndarray
    """(N,) float32: trust in the position, for averaging."""

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, keep: np.ndarray) -> "Detections":
        """The candidates with these indices or this boolean mask."""
        return Detections(self.boxes[keep], self.landmarks[keep], self.scores[keep], self.weights[keep])

    def mapped(self, transform: Callable[[np.ndarray], np.ndarray]) -> "Detections":
        """The candidates where ``transform`` (quarter turns, shifts, scales) sends points (N, M, 2)."""
        corners = transform(self.boxes.reshape(-1, 2, 2))
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return Detections(boxes, transform(self.landmarks), self.scores, self.weights)

    def rescaled(self, from_shape: tuple[int, ...], to_shape: tuple[int, ...]) -> "Detections":
        """In pixels of the picture of another shape (H, W, ...) that shows the same; its edges keep their place."""
        scale = np.array([to_shape[1] / from_shape[1], to_shape[0] / from_shape[0]], np.float32)
        return self.mapped(lambda points: (points + 0.5) * scale - 0.5)


@functools.lru_cache(maxsize=16)
def anchor_centers_and_sides(height: int, width: int) -> np.ndarray:
    """(N, 3) float32: center x, center y and side of every anchor, in the network's order of outputs."""
    anchors = []
    for stride, sides in _LEVELS:
        rows, columns = -(-height // stride), -(-width // stride)
        grid = np.empty((rows, columns, len(sides), 3), np.float32)
        grid[..., 0] = ((np.arange(columns) + 0.5) * stride - 0.5)[None, :, None]
        grid[..., 1] = ((np.arange(rows) + 0.5) * stride - 0.5)[:, None, None]
        grid[..., 2] = sides
        anchors.append(grid.reshape(-1, 3))
    result = np.concatenate(anchors)
    result.setflags(write=False)
    return result


def decode(
    locations: np.ndarray, scores: np.ndarray, points: np.ndarray, height: int, width: int, threshold: float
) -> Detections:
    """Decode the raw outputs for one picture.

    Args:
        locations: (N, 4) box offsets relative to the anchors.
        scores: (N,) probability of a face.
        points: (N, 10) landmark offsets.
        height, width: of the network's input in pixels, in which the candidates are given.
        threshold: candidates scoring less are left out, before anything is computed.
    """
    keep = np.flatnonzero(scores >= threshold)
    anchors = anchor_centers_and_sides(height, width)[keep]
    centers, sides = anchors[:, None, :2], anchors[:, None, 2:]
    landmarks = centers + points[keep].reshape(-1, 5, 2) * _CENTER_VARIANCE * sides
    locations = locations[keep].reshape(-1, 2, 2)
    middle = centers + locations[:, :1] * _CENTER_VARIANCE * sides
    half = np.exp(locations[:, 1:] * _SIZE_VARIANCE) * sides / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1).reshape(-1, 4)
    # Measured: the error in network pixels hardly depends on the size of the face, so relative to the face it
    # falls with the size, until the face outgrows what the network saw in training.
    sides = half.max(axis=(1, 2)) * 2
    weights = scores[keep] * np.square(np.minimum(sides, _BEST_SIDE_PX))
    return Detections(boxes, landmarks, scores[keep], weights)


def merge_by_box_voting(passes: Sequence[Detections]) -> Detections:
    """One detection per face, from the candidates of several passes over one picture.

    Candidates that overlap a better scoring one by more than 0.4 (intersection over union) are the same face. Instead
    of being dropped they are averaged, which halves the jitter of the landmarks.
    """
    fields = ("boxes", "landmarks", "scores", "weights")
    candidates = Detections(*(np.concatenate([getattr(found, field) for found in passes]) for field in fields))
    left = candidates.select(np.argsort(-candidates.scores, kind="stable"))
    merged = []
    while len(left):
        best, boxes = left.boxes[0], left.boxes
        sides = np.minimum(best[2:], boxes[:, 2:]) - np.maximum(best[:2], boxes[:, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        same = common / np.maximum(areas + areas[0] - common, 1e-9) > _SAME_FACE_OVERLAP
        same[0] = True
        votes = left.select(same)
        box, landmarks = (np.average(field, axis=0, weights=votes.weights) for field in (votes.boxes, votes.landmarks))
        merged.append((box, landmarks, votes.scores[0], votes.weights.sum()))
        left = left.select(~same)
    if not merged:
        return left
    return Detections(*(np.stack(field).astype(np.float32) for field in zip(*merged, strict=True)))
