"""Shows parts of HDR films to a network that knows SDR pictures, and brings what it changes back into the film.

The film itself is never tone-mapped: only the difference that the network makes is translated.
"""

import dataclasses
import functools

import cv2
import numpy as np

from memgan.video.film import TRANSFER_HLG, TRANSFER_PQ, FilmInfo

REFERENCE_WHITE = 203.0
"""Light of a white page, in nits (ITU-R BT.2408): it counts as the white of SDR pictures."""
HLG_PEAK = 1000.0
"""Nits of the display for which HLG's system gamma is 1.2 (ITU-R BT.2100, table 5)."""
HLG_GAMMA = 1.2

SHOULDER = 0.8
"""Light, relative to white, above which highlights are compressed; below, light is kept."""
BRIGHTEST = 2.0
"""Light, relative to white, that is shown as 255, and whatever is brighter. White itself is shown as 246."""

# Chromaticities of red, green, blue (ITU-T H.273, table 2), all with the white D65.
PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
D65 = (0.3127, 0.3290)


def hdr_curve(info: FilmInfo) -> "HdrCurve | None":
    """How a film's colors are shown to the network; ``None``: the film is SDR."""
    if not info.is_hdr:
        return None
    return HdrCurve(info.transfer, info.primaries if info.primaries in PRIMARIES else 9)


@dataclasses.dataclass(frozen=True)
class HdrCurve:
    """From HDR to SDR, and back for changes. Light is counted relative to the reference white.

    Light up to 80 % of white stays what it is. Above, highlights come closer and closer to white, each color for
    itself. What is beyond the colors of BT.709 becomes the nearest one that has no negative light.
    """

    transfer: int
    """``TRANSFER_PQ`` or ``TRANSFER_HLG``."""
    primaries: int = 9
    """A key of ``PRIMARIES``: of the film."""

    @property
    def name(self) -> str:
        curve = "PQ (SMPTE ST 2084)" if self.transfer == TRANSFER_PQ else "HLG (ARIB STD-B67)"
        return f"{curve} to sRGB, reference white {REFERENCE_WHITE:.0f} nits"

    def to_sdr(self, rgb16: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint16 of the film, as ``Frame.rgb`` gives it, as sRGB: (H, W, 3) uint8."""
        light = np.take(self._light, rgb16)
        if self.transfer == TRANSFER_HLG:  # so far of the scene; its brightness decides how it is shown
            scene = np.maximum(cv2.transform(light, self._luminance), 1e-9)
            light *= (HLG_PEAK / REFERENCE_WHITE) * cv2.pow(scene, HLG_GAMMA - 1)[..., None]
        return np.take(_levels(), _places(cv2.transform(light, self._to_709), BRIGHTEST))

    def back(self, after8: np.ndarray, before8: np.ndarray, film16: np.ndarray) -> np.ndarray:
        """The change of an SDR picture, made in the film.

        Args:
            after8: (H, W, 3) uint8 sRGB, what the network made of ``before8``.
            before8: (H, W, 3) uint8, what ``to_sdr`` made of ``film16``.
            film16: (H, W, 3) uint16.

        Returns:
            (H, W, 3) uint16: where a pixel is the same before and after, it is that of ``film16``, bit for bit.
        """
        is_changed = (after8 != before8).any(-1)
        change = self._signal(after8[is_changed]) - self._signal(before8[is_changed])
        film: np.ndarray = film16.copy()
        film[is_changed] = np.rint(film[is_changed] + change).clip(0, 65535)
        return film

    def _signal(self, pixels: np.ndarray) -> np.ndarray:
        """(N, 3) uint8 sRGB as the film has it: (N, 3) float32, 65535 is white."""
        if not len(pixels):
            return np.zeros(pixels.shape, np.float32)
        light = np.maximum(cv2.transform(np.take(_lights(), pixels)[None], np.linalg.inv(self._to_709))[0], 0)
        if self.transfer == TRANSFER_HLG:
            light *= REFERENCE_WHITE / HLG_PEAK
            shown = np.maximum(light @ self._luminance.T, 1e-9)
            light *= shown ** (1 / HLG_GAMMA - 1) * (HLG_PEAK / REFERENCE_WHITE)
        return np.take(self._signals, _places(light, self._brightest))

    @functools.cached_property
    def _light(self) -> np.ndarray:
        """(65536,) float32: light of each signal; for HLG, that of the scene, whose peak is 1."""
        signal = np.arange(65536) / 65535
        light = pq_light(signal) / REFERENCE_WHITE if self.transfer == TRANSFER_PQ else hlg_light(signal)
        return np.asarray(light, np.float32)

    @property
    def _brightest(self) -> float:
        """Largest light in the table of signals: of a scene, saturated colors are brighter than they are shown."""
        return BRIGHTEST if self.transfer == TRANSFER_PQ else HLG_PEAK / REFERENCE_WHITE

    @functools.cached_property
    def _signals(self) -> np.ndarray:
        """(65536,) float32: the signal, 65535 for white, of the light at each of ``_places``."""
        light = _lights_at_places(self._brightest) * REFERENCE_WHITE
        signal = pq_signal(light) if self.transfer == TRANSFER_PQ else hlg_signal(light / HLG_PEAK)
        return np.asarray(65535 * signal, np.float32)

    @functools.cached_property
    def _to_709(self) -> np.ndarray:
        """(3, 3) from light of the film's primaries to that of BT.709's."""
        return np.linalg.solve(_to_xyz(1), _to_xyz(self.primaries))

    @functools.cached_property
    def _luminance(self) -> np.ndarray:
        """(1, 3) shares of the film's primaries in luminance."""
        return np.asarray(_to_xyz(self.primaries)[1:2], np.float32)


def pq_light(signal: np.ndarray) -> np.ndarray:
    """Nits of a PQ signal in [0, 1] (ITU-R BT.2100, table 4, EOTF)."""
    power = signal ** (1 / _M2)
    return np.asarray(10000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1))


def pq_signal(nits: np.ndarray) -> np.ndarray:
    """PQ signal in [0, 1] of nits in [0, 10000] (ITU-R BT.2100, table 4, inverse EOTF)."""
    power = (nits / 10000) ** _M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


def hlg_light(signal: np.ndarray) -> np.ndarray:
    """Light of the scene, in [0, 1], of an HLG signal in [0, 1] (ITU-R BT.2100, table 5, inverse OETF)."""
    return np.asarray(np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12))


def hlg_signal(light: np.ndarray) -> np.ndarray:
    """HLG signal in [0, 1] of light of the scene in [0, 1] (ITU-R BT.2100, table 5, OETF)."""
    bright = _A * np.log(np.maximum(12 * light - _B, 1e-9)) + _C
    return np.asarray(np.where(light <= 1 / 12, np.sqrt(3 * light), bright))


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A = 0.17883277
_B = 1 - 4 * _A
_C = 0.5 - _A * np.log(4 * _A)


def _to_xyz(primaries: int) -> np.ndarray:
    """(3, 3) from light of primaries, whose white is 1, to CIE XYZ."""
    x, y = np.array([*PRIMARIES[primaries], D65]).T
    columns = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    return np.asarray(columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3]))


def _places(light: np.ndarray, brightest: float) -> np.ndarray:
    """Of light in a table that ends with the brightest, uint16: by its root, since dark levels lie closer together."""
    root = cv2.sqrt(light.clip(0, brightest))
    return np.asarray(root * np.float32(65535 / brightest**0.5) + np.float32(0.5), np.uint16)


def _lights_at_places(brightest: float) -> np.ndarray:
    return np.square(np.linspace(0, brightest**0.5, 65536))


@functools.cache
def _levels() -> np.ndarray:
    """(65536,) uint8: sRGB of the light at each of ``_places``."""
    light = _lights_at_places(BRIGHTEST)
    room = 1 - SHOULDER
    light = np.where(light > SHOULDER, 1 - room * np.exp(np.minimum(SHOULDER - light, 0) / room), light)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * srgb), np.uint8)


@functools.cache
def _lights() -> np.ndarray:
    """(256,) float32: light of each level of sRGB, without the compression of highlights."""
    srgb = np.arange(256) / 255
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    room = 1 - SHOULDER
    bright = SHOULDER - room * np.log(np.maximum((1 - light) / room, 1e-9))
    return np.asarray(np.where(light > SHOULDER, bright, light).clip(0, BRIGHTEST), np.float32)
