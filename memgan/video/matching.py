"""Says which find of the detector is which face of the frames before."""

from collections.abc import Callable, Sequence

import numpy as np

from memgan.errors import MissingDependencyError
from memgan.faces.align import Face
from memgan.video.flow import look_of, size_of, state_of
from memgan.video.path import Path

# Most that a find may be away from where a face is expected, as a share of its size: one that the flow has followed,
# and one of which only the last speed is known.
_REACH, _REACH_LOST = 0.25, 0.6
_MOST_ZOOM = 1.7
# Correlation below which it is somebody else. Measured: the same face 8 frames later above 0.7, or 0.64 if it is dark
# and quick; of ten pairs of people 0.12 to 0.78.
_OTHER_LOOK, _OTHER_LOOK_LOST = 0.35, 0.6
_NEVER = 1e6


def assignment() -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Scipy's function that pairs rows and columns of a matrix of costs.

    Raises:
        MissingDependencyError: if scipy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            "Following faces needs the package scipy, which is not installed: pip install 'memgan[video]'"
        ) from error
    solver: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = linear_sum_assignment
    return solver


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of the boxes of two states."""
    sides = np.minimum(first[6], second[6]) - np.maximum(first[5], second[5])
    common = float(np.prod(np.maximum(sides, 0)))
    areas = float(np.prod(first[6] - first[5]) + np.prod(second[6] - second[5]))
    return common / max(areas - common, 1e-6)


def match(paths: Sequence[Path], finds: Sequence[Face], rgb: np.ndarray) -> list[tuple[Path, int]]:
    """Pairs of a path and the index of its find: those with the least sum of costs (the Hungarian method).

    A pair costs the mean distance of its landmarks in sizes of the face, its lack of overlap, its difference in size
    and its lack of likeness. Pairs that cannot be are left out.

    Args:
        paths: faces of the frames before, where they are expected now.
        finds: faces of this frame.
        rgb: the frame, (H, W, 3) uint8.
    """
    if not paths or not finds:
        return []
    states = [state_of(face) for face in finds]
    looks = [look_of(rgb, state) for state in states]
    costs = np.array(
        [[_cost(path, state, look) for state, look in zip(states, looks, strict=True)] for path in paths], np.float64
    )
    rows, columns = assignment()(costs)
    return [(paths[row], int(column)) for row, column in zip(rows, columns, strict=True) if costs[row, column] < _NEVER]


def _cost(path: Path, state: np.ndarray, look: np.ndarray) -> float:
    # A face that was lost may have gone on as before, or stopped.
    expected = min((path.expected, path.tip), key=lambda place: _distance(place, state))
    zoom, likeness = size_of(state) / size_of(expected), float(path.look @ look)
    distance = _distance(expected, state) / max(size_of(expected), size_of(state))
    reach, least_likeness = (_REACH_LOST, _OTHER_LOOK_LOST) if path.is_lost else (_REACH, _OTHER_LOOK)
    if distance > reach or not 1 / _MOST_ZOOM < zoom < _MOST_ZOOM or likeness < least_likeness:
        return _NEVER
    return distance + (1 - overlap(expected, state)) / 2 + abs(float(np.log(zoom))) / 2 + 2 * (1 - likeness)


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first[:5] - second[:5], axis=1).mean())
