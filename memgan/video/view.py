"""Shows frames as detector and network want them, and brings restored faces back into the film's own pixels."""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np

from memgan.faces.paste import paste
from memgan.faces.warp import invert_affine, rescale_affine, square_bounds
from memgan.image import resize
from memgan.restoration.postprocess import pasting_rank
from memgan.restoration.result import RestoredFace
from memgan.video.film import FilmInfo
from memgan.video.hdr import HdrCurve, hdr_curve

_COUNTS_PER_LEVEL = 257  # of 16 bit in one level of 255


def view_of(info: FilmInfo) -> "FilmView":
    """How the frames of a film are shown."""
    aspect = info.sample_aspect_ratio
    return FilmView(hdr_curve(info), 1 / aspect if info.rotation % 180 else aspect)


@dataclasses.dataclass(frozen=True)
class FilmView:
    """A film's frames in square pixels, 8 bit and sRGB: faces are found, followed, restored and counted in these."""

    curve: HdrCurve | None = None
    """Of a film in HDR; ``None``: its values are shown as they are."""
    aspect: Fraction = Fraction(1)
    """Width over height of one pixel of the film."""

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in square pixels of what has this many of the film's."""
        return max(1, round(width * self.aspect)), height

    def seen(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W', 3) uint8 RGB of a frame (H, W, 3), uint8 or uint16."""
        return self._squared(self._sdr(rgb))

    def paste(
        self,
        canvas: np.ndarray,
        faces: Sequence[tuple[RestoredFace, np.ndarray]],
        size: tuple[int, int],
        grain: float,
    ) -> np.ndarray:
        """Paste faces, larger ones first, see :func:`memgan.restoration.postprocess.paste_faces_`.

        Args:
            canvas: (H, W, 3) uint8 or uint16 RGB: the frame, enlarged or not, in the film's pixels; changed.
            faces: of :func:`memgan.restoration.postprocess.postprocess`, in the frame's square pixels.
            size: width and height of the frame in those.
            grain: share of lost noise to give back, 0 to 1.

        Returns:
            (H, W) bool: where the canvas was changed.
        """
        height, width = canvas.shape[:2]
        square_width = self.size(width, height)[0]
        scales = square_width / size[0], height / size[1]
        changed = np.zeros((height, width), bool)
        for face, full in sorted(faces, key=pasting_rank):
            if face.strength == 0:
                continue
            matrix = rescale_affine(invert_affine(face.crop_from_image), *scales)
            low, high = square_bounds(matrix, len(full))
            left, top = np.maximum(low, 0).tolist()
            right, bottom = np.minimum(high + 1, (square_width, height)).tolist()
            if left >= right or top >= bottom:
                continue
            # Of pixels that are not square whole rows are taken, so that both grids keep their place.
            columns = slice(left, right) if self.aspect == 1 else slice(0, width)
            place = slice(top, bottom), columns
            shift = columns.start / scales[0], top / scales[1]
            before = canvas[place].copy()
            self._paste_into(canvas[place], face, full, scales, shift, grain)
            changed[place] |= (canvas[place] != before).any(axis=2)
        return changed

    def _paste_into(
        self,
        patch: np.ndarray,
        face: RestoredFace,
        full: np.ndarray,
        scales: tuple[float, float],
        shift: tuple[float, float],
        grain: float,
    ) -> None:
        """Paste a face into a part of the canvas that begins at ``shift`` (x, y), in the frame's square pixels."""
        shown = self._sdr(patch) if self.curve is not None else patch
        square = self._squared(shown)
        pasted = patch if square is patch else square.copy()
        image_from_crop = invert_affine(face.crop_from_image)
        image_from_crop[:, 2] -= shift
        paste(
            pasted,
            full,
            invert_affine(image_from_crop),
            scales,
            face.mask,
            crop=face.crop,
            grain=grain,
            grain_seed=face.grain_seed,
            inplace=True,
            exact=False,
        )
        if pasted is patch:
            return
        if square is not shown:  # only the change is brought back: the rest keeps its bits
            change = cv2.subtract(pasted, square, dtype=cv2.CV_32F)
            change = resize(change, shown.shape[1], shown.shape[0])
            pasted = np.clip(np.rint(shown + change), 0, np.iinfo(shown.dtype).max).astype(shown.dtype)
        patch[:] = pasted if self.curve is None else self.curve.back(pasted, shown, patch.copy())

    def _sdr(self, rgb: np.ndarray) -> np.ndarray:
        if self.curve is not None:
            return self.curve.to_sdr(rgb)
        return rgb if rgb.dtype == np.uint8 else cv2.convertScaleAbs(rgb, alpha=1 / _COUNTS_PER_LEVEL)

    def _squared(self, rgb: np.ndarray) -> np.ndarray:
        return rgb if self.aspect == 1 else resize(rgb, *self.size(rgb.shape[1], rgb.shape[0]))
