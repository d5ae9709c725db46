"""Averages restored faces over the frames before and after: what the network draws anew in each is averaged out."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from memgan.video.carry import KeyFace
from memgan.video.face_motion import motion, motion_gray, opposite, places, taken

_TRUST_SIDE = 128  # pixels along a side of the maps that say how far another frame is believed
_NEAR = 5  # of them, over which pictures are compared
_CHANGE = 10.0  # levels of 255 by which what comes from another frame may differ in the input
_DRIFT = 8.0  # levels by which it may differ in the output: what the network draws anew cancels out over some pixels
_LIGHT = 2  # blocks along a side over which light is followed: finer changes are mostly what compression makes
_BAND = 128  # rows
_FINE = 2.0  # pixels: standard deviation of the filter that tells fine detail
_MOST_GAIN = 2.0  # of it
_CRISP = 1.5  # times what the mean lacks of it is given back: with less, ST-LPIPS finds faces smoother than single ones
_MEAN_OF_COLORS = np.full((1, 3), 1 / 3, np.float32)


class Steadier:
    """Averages the key faces of one track, as they come, with those around them.

    Each face is averaged with the ones ``steps[0]`` before and after it, these means with those ``steps[1]`` before and
    after, and so on: steps 1 and 3 make the mean of nine faces out of four that are moved. They are moved along with
    the face, and count as far as the frame looks like theirs. As many come from after as from before, so what changes
    slowly does not lag; what lies further away than the steps reach has no influence.

    Args:
        steadiness: how much another face counts where nothing changes but by motion, 0 to 1 (as much as the own one).
        steps: in key faces.
    """

    def __init__(self, steadiness: float, steps: Sequence[int]) -> None:
        self._stages = [_Stage(step, steadiness) for step in steps]
        self.reach = sum(steps)
        """Faces before and after one that have influence on it."""

    def add(self, key: KeyFace) -> list[KeyFace]:
        """Take the next face, as the network made it; gives those that are steady now, in their order."""
        if not self._stages:
            return [key]
        means = [_mean_of_one(key)]
        for stage in self._stages:
            means = [settled for mean in means for settled in stage.add(mean)]
        return _steady(means)

    def finish(self) -> list[KeyFace]:
        """The rest of the faces: the track has ended."""
        means: list[_Mean] = []
        for stage in self._stages:
            means = [settled for mean in means for settled in stage.add(mean)] + stage.finish()
        return _steady(means)


@dataclasses.dataclass(eq=False)
class _Mean:
    """A face averaged with some around it."""

    key: KeyFace
    """As the network made it."""
    picture: np.ndarray
    """(S, S, 3) float32 RGB in levels of 255: the mean."""
    count: np.ndarray
    """(_TRUST_SIDE, _TRUST_SIDE) float32: of how many faces."""
    crop: np.ndarray
    """(_TRUST_SIDE, _TRUST_SIDE, 3) uint8 RGB: what the network was given, made small."""
    gray: np.ndarray
    """(SIDE, SIDE) uint8: the mean, as its motion is looked for. Restored faces have no noise, so it shows better."""
    coarse: np.ndarray
    """(_TRUST_SIDE, _TRUST_SIDE, 3) float32: the mean, made small."""
    energy: np.ndarray
    """(_TRUST_SIDE, _TRUST_SIDE) float32: mean energy of the fine detail of the faces, in levels squared."""


class _Stage:
    """Averages every face with those so many before and after it."""

    def __init__(self, step: int, steadiness: float) -> None:
        self._step, self._steadiness = step, steadiness
        self._window: deque[_Mean] = deque(maxlen=2 * step + 1)
        self._flows: deque[np.ndarray] = deque()  # of the last faces, in their order, to those a step before them

    def add(self, new: _Mean) -> list[_Mean]:
        self._window.append(new)
        if len(self._window) <= self._step:
            return []
        face = self._window[-1 - self._step]
        flow = motion(face.gray, new.gray)
        others = [*self._before(len(self._window) - 1 - self._step), (new, flow)]
        self._flows.append(opposite(flow))
        return [_averaged(face, others, self._steadiness)]

    def finish(self) -> list[_Mean]:
        last = range(max(len(self._window) - self._step, 0), len(self._window))
        return [_averaged(self._window[place], self._before(place), self._steadiness) for place in last]

    def _before(self, place: int) -> list[tuple[_Mean, np.ndarray]]:
        """The face a step before the one at a place of the window, if there is one, and the motion to it."""
        return [(self._window[place - self._step], self._flows.popleft())] if place >= self._step else []


def _mean_of_one(key: KeyFace) -> _Mean:
    count = np.ones((_TRUST_SIDE, _TRUST_SIDE), np.float32)
    return _mean(key, key.output.astype(np.float32), count, _small(key.crop), _energy(_fine(key.output)))


def _mean(key: KeyFace, picture: np.ndarray, count: np.ndarray, crop: np.ndarray, energy: np.ndarray) -> _Mean:
    return _Mean(key, picture, count, crop, motion_gray(picture), _small(picture), energy)


def _averaged(face: _Mean, others: Sequence[tuple[_Mean, np.ndarray]], steadiness: float) -> _Mean:
    """The mean of a face and others, each of which is moved by the motion to it."""
    if not others:
        return face
    size = len(face.picture)
    shares, lights = [], []
    for other, flow in others:
        trust, light = _trust(face, other, flow)
        shares.append(np.float32(steadiness) * trust * other.count)
        lights.append(light)
    count = face.count + sum(shares)
    energy = face.count * face.energy
    added = np.zeros_like(face.coarse)
    for (other, _), share, light in zip(others, shares, lights, strict=True):
        energy += share * other.energy
        added += (share / count)[:, :, None] * light
    mean = _resized(added, size)
    # In bands: what is made on the way stays near the processor, and takes no fresh memory.
    bands = [slice(begin, begin + _BAND) for begin in range(0, size, _BAND)]
    part, where = _resized(face.count / count, size), None
    for rows in bands:
        _add_times_(mean[rows], face.picture[rows], part[rows])
    for (other, flow), share in zip(others, shares, strict=True):
        _resized(share / count, size, part)
        where = places(flow, size, where)
        for rows in bands:
            _add_times_(mean[rows], taken(other.picture, where[rows]), part[rows])
    return _mean(face.key, mean, count, face.crop, energy / count)


def _trust(face: _Mean, other: _Mean, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far another face, moved, is believed, (_TRUST_SIDE, _TRUST_SIDE), and the light to be added to it."""
    where = places(flow, _TRUST_SIDE)
    change = cv2.subtract(face.crop, taken(other.crop, where, cv2.INTER_LINEAR), dtype=cv2.CV_32F)
    light = _resized(cv2.resize(change, (_LIGHT, _LIGHT), interpolation=cv2.INTER_AREA), _TRUST_SIDE)
    differs = cv2.blur(cv2.transform(np.abs(change), _MEAN_OF_COLORS), (_NEAR, _NEAR))
    left = cv2.blur(taken(other.coarse, where, cv2.INTER_LINEAR) + light - face.coarse, (_NEAR, _NEAR))
    drift = cv2.transform(np.abs(left), _MEAN_OF_COLORS)
    return np.exp(-np.square(differs / np.float32(_CHANGE)) - np.square(drift / np.float32(_DRIFT))), light


def _add_times_(total: np.ndarray, picture: np.ndarray, share: np.ndarray) -> None:
    """Add a picture, (H, W, 3), times a map, (H, W)."""
    part = cv2.merge((share, share, share))
    cv2.add(total, cv2.multiply(part, picture, part), total)


def _small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (_TRUST_SIDE, _TRUST_SIDE), interpolation=cv2.INTER_AREA)


def _resized(picture: np.ndarray, size: int, into: np.ndarray | None = None) -> np.ndarray:
    return cv2.resize(picture, (size, size), into)


def _steady(means: Iterable[_Mean]) -> list[KeyFace]:
    return [mean.key._replace(output=_as_crisp(mean.picture, mean.energy)) for mean in means]


def _as_crisp(mean: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """A mean of pictures with as much fine detail as each of them has: what differs between them cancels out.

    Args:
        mean: (S, S, 3) float32 RGB.
        energy: of their fine detail.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    fine = _fine(mean)
    gain = np.sqrt(np.clip((energy + 1) / (_energy(fine) + 1), 1, _MOST_GAIN**2))
    lacking = cv2.multiply(fine, _resized(gain - 1, len(mean)), fine, _CRISP)
    result = np.empty(mean.shape, np.uint8)
    for begin in range(0, len(mean), _BAND):
        rows = slice(begin, begin + _BAND)
        crisp = cv2.add(mean[rows], cv2.merge((lacking[rows],) * 3))
        result[rows] = cv2.convertScaleAbs(np.maximum(crisp, 0, out=crisp))
    return result


def _fine(picture: np.ndarray) -> np.ndarray:
    """Fine detail of the brightness of a picture, (S, S) float32."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return cv2.subtract(gray, cv2.GaussianBlur(gray, (0, 0), _FINE), dtype=cv2.CV_32F)


def _energy(fine: np.ndarray) -> np.ndarray:
    """(_TRUST_SIDE, _TRUST_SIDE) float32: the mean of its square around each place."""
    return cv2.blur(_small(cv2.multiply(fine, fine)), (_NEAR, _NEAR))
