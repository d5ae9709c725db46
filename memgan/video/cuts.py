"""Finds hard cuts: frames that show another scene than the frame before."""

from collections import deque

import cv2
import numpy as np

LOOK_AHEAD = 2
"""Frames that have to be seen after one before it is known whether it is a cut."""

_LONG_SIDE, _LEAST_SIDE = 64, 8  # pixels of the pictures that are compared
_PART = 0.4  # of the picture's height and width
_ALIKE = 3  # of nine parts that are enough to know a scene by
_FLAT = 2.0  # standard deviation in levels below which a part shows nothing to compare
_FLASH = 8.0  # levels by which a flash is brighter than the frame before it
# A frame is a cut if it is more unlike the one before than the least, and than its neighbors are among themselves.
# Measured: cuts of films 0.31 to 0.58, cars that drive past close by up to 0.18 among neighbors of 0.12, talk and
# hand-held cameras up to 0.02.
_LEAST = 0.15
_NEIGHBORS = 1.2
_HISTORY = 4


class CutFinder:
    """Says of each frame whether it begins a shot, two frames later.

    Frames are compared as gray pictures of 64 px. Nine parts of one, each 0.4 of it high and wide, are looked for
    anywhere in the other by normalized correlation; the third best match says how alike they are. So pans, zooms and
    people who come, go or cross do not count, nor does the exposure. A flash is what is brighter, or shows nothing, and
    is gone within two frames: then the frame after it is like the one before. Fades and dissolves are no cuts.
    """

    def __init__(self) -> None:
        self._pictures: deque[np.ndarray] = deque(maxlen=2 * LOOK_AHEAD + 2)
        self._changes: deque[float] = deque(maxlen=_HISTORY + LOOK_AHEAD + 1)  # of the newest frames to those before
        self._count = 0
        self._decided = 0
        self._calm_until = -1  # last frame of the flash, and the one after it

    def feed(self, gray: np.ndarray) -> bool | None:
        """Whether the frame before the last is a cut; ``None`` at the first two frames, where there is no such.

        Args:
            gray: (H, W) uint8, the next frame.
        """
        picture = _shrunk(gray)
        self._changes.append(_change(self._pictures[-1], picture) if self._pictures else 0.0)
        self._pictures.append(picture)
        self._count += 1
        return self._decide() if self._count > LOOK_AHEAD else None

    def finish(self) -> list[bool]:
        """Whether the last frames, of which nothing was said yet, are cuts."""
        return [self._decide() for _ in range(self._decided, self._count)]

    def _decide(self) -> bool:
        index = self._decided
        self._decided += 1
        if index == 0:
            return True
        later = self._count - 1 - index  # frames that were seen after it
        pictures = list(self._pictures)
        now = len(pictures) - 1 - later
        before, picture, after = pictures[:now][-LOOK_AHEAD - 1 :], pictures[now], pictures[now + 1 :]
        changes = list(self._changes)
        place = len(changes) - 1 - later
        neighbors = [*changes[max(0, place - _HISTORY) : place], *changes[place + 1 :]]
        limit = _LEAST + _NEIGHBORS * float(np.mean(neighbors)) if neighbors else _LEAST
        if changes[place] <= limit or index <= self._calm_until:
            return False
        if _is_flash(picture, before[-1]):
            for number, following in enumerate(after, start=1):
                if _change(before[-1], following) <= limit:
                    self._calm_until = index + number
                    return False
        is_over = _is_flash(before[-1], picture) and any(_change(older, picture) <= limit for older in before[:-1])
        return not is_over


def _is_flash(picture: np.ndarray, other: np.ndarray) -> bool:
    """Whether a picture may be a flash between frames like ``other``: it is brighter, or shows nothing."""
    return bool(picture.mean() - other.mean() > _FLASH or picture.std() < _FLAT)


def _shrunk(gray: np.ndarray) -> np.ndarray:
    height, width = gray.shape
    scale = _LONG_SIDE / max(height, width)
    size = max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _change(first: np.ndarray, second: np.ndarray) -> float:
    """From 0, the same scene, to about 1: how unlike two pictures of one size are, see :class:`CutFinder`."""
    height, width = first.shape
    rows, columns = round(height * _PART), round(width * _PART)
    matches = []
    for top in (0, (height - rows) // 2, height - rows):
        for left in (0, (width - columns) // 2, width - columns):
            part = first[top : top + rows, left : left + columns]
            if part.std() >= _FLAT:
                matches.append(float(cv2.matchTemplate(second, part, cv2.TM_CCOEFF_NORMED).max()))
    if not matches:  # nothing to be seen: what counts is whether there is now
        return float(second.std() >= _FLAT)
    return 1 - sorted(matches, reverse=True)[min(_ALIKE, len(matches)) - 1] if second.std() >= _FLAT else 1.0
