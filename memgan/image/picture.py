"""Holds a picture, and converts it from and to the arrays that callers use."""

import dataclasses
import math
from typing import Any, Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from memgan.errors import ConfigError, ImageError
from memgan.image.notes import Carried, Notes, Origin
from memgan.image.profiles import convert_to_srgb, profile_of_code_points, profile_of_gamma
from memgan.runtime.checks import check_number
from memgan.runtime.choices import COLOR_ORDERS
from memgan.runtime.short_repr import short_repr

ColorOrder = Literal["bgr", "rgb"]
MIN_SIDE = 16
MAX_SIDE = 65535
MAX_PIXELS = 2**28
_STRIP_PIXELS = 2**22  # converted at once: intermediate results are several times as large


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

    __repr__ = short_repr

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
        origin = carried.origin
        if origin is not None:
            origin = dataclasses.replace(origin, width=self.rgb.shape[1], height=self.rgb.shape[0])
        problems = (*self.problems, *carried.problems)
        return dataclasses.replace(self, notes=carried.notes, origin=origin, exif=carried.exif, problems=problems)


def check_size(
    width: int,
    height: int,
    what: str = "picture",
    *,
    max_pixels: int = MAX_PIXELS,
    sides: tuple[int, int] = (MIN_SIDE, MAX_SIDE),
) -> None:
    """Reject sizes that cannot be restored sensibly.

    Raises:
        ImageError: if a side is under or over ``sides``, or there are more than ``max_pixels``.
    """
    least, most = sides
    if min(width, height) < least or max(width, height) > most or width * height > max_pixels:
        remedy = "enlarge it first" if min(width, height) < least else "shrink it or cut it into parts first"
        raise ImageError(
            f"{what} is {width} x {height} pixels; allowed are sides of {least} to {most} pixels and at most "
            f"{max_pixels} pixels in all; {remedy}"
        )


def from_array(
    image: Any,
    color: ColorOrder = "bgr",
    *,
    value_range: float | None = None,
    max_pixels: int = MAX_PIXELS,
    sides: tuple[int, int] = (MIN_SIDE, MAX_SIDE),
) -> Picture:
    """Take over a caller's picture; the result shares no memory with it.

    Args:
        image: numpy array (H, W), (H, W, 1) gray, (H, W, 2) gray with alpha, (H, W, 3) or (H, W, 4), with any strides;
            or one such picture as a batch, (1, H, W, C). PyTorch tensors may also be (C, H, W) or (1, C, H, W).
        color: channel order of the array or tensor.
        value_range: the value of white (black is 0); what lies beyond by up to half of it is clipped. ``None``: by the
            type, whatever values occur: bool 1, uint8 255, uint16 65535, floats 255 in arrays and 1 in tensors. Other
            integers need it. The picture has 16 bit if white is 65535, else values are rounded to 8 bit.
        max_pixels, sides: how large it may be, and its shorter and longer side.

    Raises:
        ConfigError: if ``color`` or ``value_range`` is not allowed.
        ImageError: for anything else: other types, dtypes or channel counts, NaN, values outside the range, sizes
            outside of the limits.
    """
    if color not in COLOR_ORDERS:
        raise ConfigError(f"color is {color!r}; allowed are {', '.join(COLOR_ORDERS)}.")
    if value_range is not None:
        check_number("value_range", value_range, 0, math.inf, low_allowed=False)
    is_tensor = isinstance(image, Tensor)
    if is_tensor:
        given = tuple(image.shape)
        try:
            image = _channels_last(image)
        except (TypeError, RuntimeError) as error:  # sparse, quantized, without values, of another kind of device
            reason = str(error).partition("\n")[0]
            raise ImageError(
                f"tensor of type {image.dtype} ({image.layout}, on {image.device}) cannot be read ({reason}); allowed "
                "are dense tensors of numbers, such as image.cpu().to_dense().float()"
            ) from error
    elif isinstance(image, np.ndarray):
        given = image.shape
        image = image[0] if image.ndim == 4 and len(image) == 1 else image
    else:
        raise ImageError(
            "a picture must be a numpy array, a tensor, a PIL picture, the path of a file, its bytes or an open file, "
            f"not {type(image).__name__}"
        )
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if channels not in (1, 2, 3, 4):
        raise ImageError(
            f"{'tensor' if is_tensor else 'array'} of shape {given} is not a picture; allowed are (H, W), (H, W, 1), "
            "(H, W, 2), (H, W, 3) and (H, W, 4); pass the pictures of a batch one by one, and channels last"
        )
    check_size(image.shape[1], image.shape[0], max_pixels=max_pixels, sides=sides)
    pixels = _counted(image, value_range, is_tensor).reshape(image.shape[0], image.shape[1], channels)
    alpha = pixels[:, :, -1].copy() if channels in (2, 4) else None
    if channels <= 2:
        gray = np.ascontiguousarray(pixels[:, :, 0])
        return Picture(rgb=cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), is_gray=True, alpha=alpha)
    # OpenCV's conversions write a new array, many times faster than numpy's indexing by channel.
    if color == "bgr":
        to_rgb = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGB
        rgb = cv2.cvtColor(np.ascontiguousarray(pixels), to_rgb)
    else:
        rgb = np.array(pixels[:, :, :3], order="C")
    return Picture(rgb=rgb, alpha=alpha)


def _channels_last(tensor: Tensor) -> np.ndarray:
    """(H, W, C) of a tensor in any of the layouts of one picture; other shapes as they are."""
    tensor = tensor.detach().cpu()
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    # No side of a picture is as small as a number of channels, so that one of the two is meant.
    if tensor.ndim == 3 and tensor.shape[0] <= 4 < tensor.shape[2]:
        tensor = tensor.movedim(0, 2)
    if tensor.dtype == torch.bfloat16:  # which numpy lacks
        tensor = tensor.float()
    array: np.ndarray = tensor.resolve_neg().resolve_conj().numpy()
    return array


def _counted(image: np.ndarray, value_range: float | None, is_tensor: bool) -> np.ndarray:
    """The values as counts, uint8 or uint16 (which are not copied), in this machine's byte order."""
    kind = image.dtype.kind
    own = {"?": 1, "u1": 255, "u2": 65535}.get("?" if kind == "b" else f"{kind}{image.dtype.itemsize}")
    if own in (255, 65535) and value_range in (None, own):
        return np.asarray(image, image.dtype.newbyteorder("="))
    if kind == "f" and own is None:
        own = 1 if is_tensor else 255
    white = own if value_range is None else value_range
    if white is None or kind not in "biuf":
        raise ImageError(
            f"picture has dtype {image.dtype}; allowed are uint8 (0..255), uint16 (0..65535), bool, float16, float32 "
            "and float64 (0..255; in tensors 0..1), and any other real type if value_range states the value of white; "
            "or convert it with .astype('uint8') after scaling"
        )
    low, high = float(image.min()), float(image.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(f"picture contains NaN or infinite values; allowed are finite values in 0..{white:g}")
    if value_range is None and white == 255 and low >= -0.5 and 0 < high <= 2:
        # Resampling lets a picture of 0..1 overshoot a little; one of 0..255 would be black.
        raise ImageError(
            f"float picture has values from {low:g} to {high:g}, which looks like a 0..1 range; allowed are 0..255; "
            "multiply it by 255, or say so: memgan.image.open_picture(image, value_range=1)"
        )
    # Nobody has said that floats of an array count to 255: they may be off by rounding only.
    margin = 0.5 if value_range is None and white == 255 else 0.5 * white
    if low < -margin or high > white + margin:
        raise ImageError(
            f"{'tensor' if is_tensor else 'picture'} has values from {low:g} to {high:g}; allowed are 0..{white:g}; "
            "rescale it, or state the value of white with value_range"
        )
    dtype, peak = (np.uint16, 65535) if white == 65535 else (np.uint8, 255)
    counts = np.empty(image.shape, dtype)
    step = max(1, _STRIP_PIXELS // image.shape[1])
    for top in range(0, len(image), step):
        part = image[top : top + step].astype(np.float64) * (peak / white)
        counts[top : top + step] = np.clip(np.rint(part), 0, peak)
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
    rgb = np.empty_like(picture.rgb)
    step = max(1, _STRIP_PIXELS // rgb.shape[1])
    for top in range(0, len(rgb), step):
        part = picture.rgb[top : top + step]
        image = Image.fromarray(part[:, :, 0] if picture.is_gray else part)
        rgb[top : top + step] = np.asarray(convert_to_srgb(image, profile).convert("RGB"))
    notes = dataclasses.replace(picture.notes, gamma=None, chromaticities=None, srgb_intent=None, cicp=None)
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
