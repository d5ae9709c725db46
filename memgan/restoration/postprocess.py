"""From the network's picture of a face to what is shown: color, identity, strength, mask and paste."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from memgan.errors import ConfigError
from memgan.faces.color import lock_color
from memgan.faces.mask import MaskMaker, soft_mask
from memgan.faces.paste import paste_
from memgan.faces.select import paste_order
from memgan.image import Picture, gray_of
from memgan.restoration.identity_gate import IdentityGate
from memgan.restoration.result import RestoredFace

_SPARSE = 16  # pixels from one to the next of a quick look


@dataclasses.dataclass(frozen=True, eq=False)
class Finish:
    """How restored faces are treated before they are shown."""

    color_lock: bool
    grain: float
    mask: MaskMaker | None
    identity: IdentityGate | None

    def face(self, crop: np.ndarray, restored: np.ndarray, weight: float, is_gray: bool) -> "FinishedFace":
        """Treat one face.

        Args:
            crop: (S, S, 3) uint8 RGB, the network's input.
            restored: (S, S, 3) uint8 RGB, its output.
            weight: strength asked for, 0 to 1.
            is_gray: the picture has no color, so the face shall have none.
        """
        if self.color_lock:
            restored = lock_color(restored, crop)
        if is_gray:
            restored = np.repeat(gray_of(restored)[:, :, None], 3, axis=2)
        keeps, distance = (1.0, None) if self.identity is None else self.identity.strength(crop, restored)
        strength = weight * keeps
        if strength == 1:
            blended = restored.copy()
        else:
            blended = np.rint(crop + np.float32(strength) * (restored.astype(np.float32) - crop)).astype(np.uint8)
        # The mask carries the strength, so that every pixel moves linearly from the background to the full restoration.
        return FinishedFace(restored, blended, np.float32(strength) * self._mask(restored), strength, distance)

    def _mask(self, restored: np.ndarray) -> np.ndarray:
        soft = soft_mask(restored.shape[0])
        if self.mask is None:
            return soft
        made = np.asarray(self.mask(restored))
        if made.shape != soft.shape or not np.isfinite(made).all() or made.min() < 0 or made.max() > 1:
            raise ConfigError(
                f"the mask has shape {made.shape}; allowed are {soft.shape} finite numbers from 0 to 1 for this face."
            )
        return soft * made.astype(np.float32)  # the soft mask still closes it at the edges of the crop

    def paste_(
        self, canvas: np.ndarray, faces: Sequence[RestoredFace], full: Sequence[np.ndarray], scales: tuple[float, float]
    ) -> None:
        """Paste faces, larger ones first.

        Args:
            canvas: (H, W, 3) uint8 or uint16, the enlarged picture; changed.
            faces: to paste; ``full`` has the restoration of each at full strength, (S, S, 3) uint8 RGB.
            scales: enlargement horizontally and vertically.
        """
        for index in paste_order(faces):
            face = faces[index]
            if face.strength > 0:
                paste_(canvas, full[index], face.crop_from_image, scales, face.mask, crop=face.crop, grain=self.grain)


@dataclasses.dataclass(frozen=True, eq=False)
class FinishedFace:
    """A face ready to be pasted."""

    full: np.ndarray
    """(S, S, 3) uint8 RGB at full strength."""
    blended: np.ndarray
    """(S, S, 3) uint8 RGB at ``strength``."""
    mask: np.ndarray
    """(S, S) float32 in [0, 1], ``strength`` included."""
    strength: float
    identity_distance: float | None


def is_colorless(picture: Picture) -> bool:
    """Whether a picture has one channel, or three equal ones."""
    if picture.is_gray:
        return True
    few = picture.rgb[::_SPARSE, ::_SPARSE]  # enough to tell almost any photograph in color
    return _has_equal_channels(few) and _has_equal_channels(picture.rgb)


def _has_equal_channels(rgb: np.ndarray) -> bool:
    red, green, blue = np.moveaxis(rgb, 2, 0)
    return np.array_equal(red, green) and np.array_equal(green, blue)
