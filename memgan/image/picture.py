"""Holds a picture, and converts it from and to the arrays that callers use."""

import dataclasses
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from memgan.errors import ConfigError, ImageError
from memgan.image.notes import Carried, Notes, Origin
from memgan.image.profiles import convert_to_srgb, profile_of_code_points, profile_of_gamma
from memgan.runtime.choices import COLOR_ORDERS

ColorOrder = Literal["bgr", "rgb"]
MIN_SIDE = 16
MAX_SIDE = 20000
MAX_PIXELS = 2**26


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """One picture, 8 or 16 bit per channel."""

    rgb: np.ndarray
    """(H, W, 3) uint8 or uint16, RGB, C-contiguous; a gray picture has three equal channels."""
    is_gray: bool = False
    """The picture was given with a single color channel and goes out with one."""
    alpha: np.ndarray | None = None
    """(H, W) transparency of the same type, largest value opaque; ``None``: the picture has none."""
    icc_profile: bytes | None = None
    """Color profile of ``rgb``; ``None``: sRGB."""
    exif: bytes | None = None
    """EXIF notes as files hold them, without orientation and thumbnail; ``None``: there are none."""
    notes: Notes = dataclasses.field(default_factory=Notes)
    """What else the file carries."""
    origin: Origin | None = None
    """The kind of file it was read from; ``None``: none."""
    problems: tuple[str, ...] = ()
    """Short sentences on what is odd about the file or was dropped, for whoever reports."""

    @property
    def peak(self) -> int:
        """Value of white: 255 or 65535."""
        return 65535 if self.rgb.dtype == np.uint16 else 255

    @property
    def profile(self) -> bytes | None:
        """Color profile of ``rgb``: its own, or one that says what cICP or gAMA and cHRM say; ``None``: sRGB."""
        notes = self.notes
        if self.icc_profile is not None:
            return self.icc_profile
        if notes.cicp is not None:
            return profile_of_code_points(notes.cicp[0], notes.cicp[1], self.is_gray)
        if notes.srgb_intent is None and (notes.gamma is not None or notes.chromaticities is not None):
            return profile_of_gamma(notes.gamma, notes.chromaticities, self.is_gray)
        return None

    def carrying(self, carried: Carried) -> "Picture":
        """With what its file carries, but for the color profile, which is up to whoever decodes the pixels."""
        problems = (*self.problems, *carried.problems)
        return dataclasses.replace(
            self, notes=carried.notes, origin=carried.origin, exif=carried.exif, problems=problems
        )


def check_size(width: int, height: int, what: str = "picture") -> None:
    """Reject sizes that cannot be restored sensibly.

    Raises:
        ImageError: if a side is under 16 or over 20000 pixels, or the area exceeds 2**26 pixels.
    """
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        remedy = "enlarge it first" if min(width, height) < MIN_SIDE else "shrink it or cut it into parts first"
        raise ImageError(
            f"{what} is {width} x {height} pixels; allowed are sides of {MIN_SIDE} to {MAX_SIDE} pixels and at most "
            f"{MAX_PIXELS} pixels in all; {remedy}"
        )


def from_array(image: Any, color: ColorOrder = "bgr") -> Picture:
    """Take over a caller's picture; the result shares no memory with it.

    Args:
        image: numpy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) with any strides. uint8 counts 0..255 and uint16
            counts 0..65535, whatever values occur. float32 and float64 count 0..255 (not 0..1) and are rounded to 8
            bit.
        color: channel order of the array.

    Raises:
        ConfigError: if ``color`` is none.
        ImageError: for anything else: other types, dtypes or channel counts, NaN, values outside the range, sizes
            outside 16..20000 pixels a side.
    """
    if color not in COLOR_ORDERS:
        raise ConfigError(f"color is {color!r}; allowed are {', '.join(COLOR_ORDERS)}.")
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"a picture must be a numpy array, a PIL picture or the path of a file, not {type(image).__name__}; "
            "convert tensors with .numpy()"
        )
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if channels not in (1, 3, 4):
        raise ImageError(
            f"array of shape {image.shape} is not a picture; allowed are (H, W), (H, W, 1), (H, W, 3) and (H, W, 4); "
            "pass the pictures of a batch one by one, and channels last"
        )
    check_size(image.shape[1], image.shape[0])
    if image.dtype in (np.uint8, np.uint16):
        pixels = np.asarray(image, image.dtype.newbyteorder("="))
    else:
        pixels = _rounded(image)
    pixels = pixels.reshape(image.shape[0], image.shape[1], channels)
    if channels == 1:
        return Picture(rgb=cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB), is_gray=True)
    # OpenCV's conversions write a new array, many times faster than numpy's indexing by channel.
    if color == "bgr":
        to_rgb = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGB
        rgb = cv2.cvtColor(np.ascontiguousarray(pixels), to_rgb)
    else:
        rgb = np.array(pixels[:, :, :3], order="C")
    return Picture(rgb=rgb, alpha=pixels[:, :, 3].copy() if channels == 4 else None)


def _rounded(image: np.ndarray) -> np.ndarray:
    """Floats in 0..255 rounded to uint8."""
    if image.dtype not in (np.float32, np.float64):
        raise ImageError(
            f"picture has dtype {image.dtype}; allowed are uint8 (0..255), uint16 (0..65535), float32 and float64 "
            "(0..255); convert it with .astype('uint8') after scaling"
        )
    low, high = float(image.min()), float(image.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("picture contains NaN or infinite values; allowed are finite values in 0..255")
    if low < -0.5 or high > 255.5:
        raise ImageError(f"float picture has values from {low:g} to {high:g}; allowed are 0..255; rescale it")
    if high <= 1.0 and bool(np.any(image != np.rint(image))):
        raise ImageError(
            f"float picture has values from {low:g} to {high:g}, which looks like a 0..1 range; "
            "allowed are 0..255; multiply it by 255"
        )
    counts: np.ndarray = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return counts


def to_array(picture: Picture, color: ColorOrder = "bgr") -> np.ndarray:
    """Give a picture back in the form callers use; the inverse of :func:`from_array` for uint8 and uint16.

    8-bit colors with a profile are converted to sRGB.

    Returns:
        (H, W) for a gray picture, (H, W, 4) when there is transparency, (H, W, 3) otherwise; uint8 or uint16.
    """
    picture = in_srgb(picture)
    if picture.alpha is not None:
        colors = picture.rgb if color == "rgb" else picture.rgb[:, :, ::-1]
        return np.dstack([colors, picture.alpha])
    if picture.is_gray:
        return gray_of(picture.rgb)
    return picture.rgb.copy() if color == "rgb" else cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2BGR)


def in_srgb(picture: Picture) -> Picture:
    """The picture with 8-bit colors converted to sRGB if it has a profile; 16-bit colors keep their values."""
    profile = picture.profile if picture.peak == 255 else None
    if profile is None:
        return picture
    image = Image.fromarray(picture.rgb[:, :, 0] if picture.is_gray else picture.rgb)
    notes = dataclasses.replace(picture.notes, gamma=None, chromaticities=None, srgb_intent=None, cicp=None)
    rgb = np.array(convert_to_srgb(image, profile).convert("RGB"))
    return dataclasses.replace(picture, rgb=rgb, icc_profile=None, notes=notes)


def gray_of(rgb: np.ndarray) -> np.ndarray:
    """Brightness (H, W) of an (H, W, 3) uint8 or uint16 picture (BT.601 weights); exact for equal channels."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def to_8bit(array: np.ndarray) -> np.ndarray:
    """uint16 counts rounded to uint8 (65535 becomes 255); uint8 is returned as it is."""
    if array.dtype == np.uint8:
        return array
    # Rounds to the nearest; 257 is odd, so that no value is near enough to a tie for single precision to matter.
    return cv2.convertScaleAbs(array, alpha=1 / 257).reshape(array.shape)
