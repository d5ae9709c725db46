"""Reads picture files, with EXIF orientation, color profiles, 16 bit and transparency."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

from memgan.errors import ImageError
from memgan.image.formats import IMAGE_SUFFIXES, enable_heif, is_heif
from memgan.image.note_readers import read_notes
from memgan.image.picture import ColorOrder, Picture, check_size, from_array
from memgan.image.profiles import convert_to_srgb

# What Pillow's decoders raise on damaged data; an error of another kind is a fault of this library.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    EOFError,
    RuntimeError,  # of the AVIF decoder
    struct.error,
    zlib.error,
    cv2.error,
)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_BITS_PER_SAMPLE = 258
# EXIF orientation -> swap rows and columns (first), reverse the rows, reverse the columns.
_ORIENTATIONS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def load_picture(path: str | os.PathLike[str]) -> Picture:
    """Read a picture file.

    The picture is turned as its EXIF orientation says; its other EXIF notes are kept. Colors keep their values and
    their profile, so that nothing outside the faces changes (but CMYK becomes sRGB). Of an animation or of several
    pages the first one is read.

    Raises:
        ImageError: if the file is missing, a folder, not a picture, truncated, or of a size outside the limits.
        MissingDependencyError: if it is a HEIC picture, and pillow-heif is not installed.
    """
    path = Path(os.fsdecode(path))
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not a picture; pass the files in it one by one")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise ImageError(f"{path!s:.200} cannot be read ({error.strerror}); check the path") from error
    except ImageError:
        raise
    except ValueError as error:  # characters that no name has
        raise ImageError(f"{str(path)[:200]!r} cannot be a path ({error}); check the path") from error
    return decode_picture(data, str(path))


def decode_picture(data: bytes, name: str = "picture") -> Picture:
    """Decode the bytes of a picture file as :func:`load_picture` does; ``name`` is used in messages.

    Raises:
        ImageError: if the bytes are no complete picture, or of a size outside the limits.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); copy or download it again")
    if is_heif(data):
        enable_heif()
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; their size is checked here before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                check_size(image.width, image.height, name)
                image.load()  # raises if the data end early
                return _decode_16bit(data, image) if _has_16bit(data, image) else from_pil(image, data)
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture; allowed are {', '.join(IMAGE_SUFFIXES)} files") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has far more pixels than are allowed; shrink it first") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name} is truncated or damaged ({error}); copy or download it again") from error


def from_pil(image: Image.Image, data: bytes | None = None) -> Picture:
    """Take over a PIL picture: upright as its EXIF orientation says, with its color profile and all its notes.

    Args:
        data: the bytes of the file that it was opened from, which tell more than PIL does.

    Raises:
        ImageError: if its mode holds no picture counts (``I``, ``F``), or its size is outside the limits.
    """
    check_size(image.width, image.height)
    carried = read_notes(data, image)
    profile = carried.icc_profile
    image = _turned(image)
    if image.mode.startswith("I;16"):
        counts = np.asarray(image).astype(np.uint16)
        return Picture(np.repeat(counts[:, :, None], 3, axis=2), is_gray=True, icc_profile=profile).carrying(carried)
    if image.mode in ("I", "F"):
        raise ImageError(f"PIL picture has mode {image.mode!r}; allowed are 8-bit modes and 'I;16'; use convert('RGB')")
    is_gray = image.mode in ("1", "L", "LA", "La")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
    if image.mode == "CMYK" and profile:
        image, profile = convert_to_srgb(image, profile), None
    return Picture(np.array(image.convert("RGB")), is_gray=is_gray, alpha=alpha, icc_profile=profile).carrying(carried)


def open_picture(image: Any, color: ColorOrder = "bgr") -> Picture:
    """Any form of a picture: a :class:`Picture` (as it is), the path of a file, a PIL picture or an array.

    PIL pictures keep their profile here; for the other kinds see :func:`load_picture` and
    :func:`memgan.image.from_array`, also for the errors raised.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, str | os.PathLike):
        return load_picture(image)
    return from_pil(image) if isinstance(image, Image.Image) else from_array(image, color)


def _turned(image: Image.Image) -> Image.Image:
    """Upright as the EXIF orientation says; notes too damaged to be read leave the picture as it is."""
    try:
        return ImageOps.exif_transpose(image)
    except _DECODE_ERRORS as error:
        warnings.warn(f"the picture's EXIF notes are damaged ({error}); its orientation is unknown", stacklevel=3)
        return image


def _has_16bit(data: bytes, image: Image.Image) -> bool:
    """Whether a PNG or TIFF stores 16 bit per channel, of which Pillow hands on only 8 for colors."""
    if data.startswith(_PNG_SIGNATURE):
        return data[24] == 16
    tags = getattr(image, "tag_v2", None)
    return tags is not None and set(tags.get(_TIFF_BITS_PER_SAMPLE, (8,))) == {16}


def _decode_16bit(data: bytes, image: Image.Image) -> Picture:
    """16-bit PNG or TIFF, read by OpenCV; ``image`` is Pillow's view of the same file."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise ValueError("unsupported kind of 16-bit picture")
    carried = read_notes(data, image)
    swap, flip_rows, flip_columns = _ORIENTATIONS.get(carried.orientation, (False,) * 3)
    profile = carried.icc_profile
    if swap:
        decoded = decoded.swapaxes(0, 1)
    decoded = decoded[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    is_gray = decoded.ndim == 2 or image.mode.startswith("I") or image.mode in ("L", "LA")
    if decoded.ndim == 2:
        return Picture(np.repeat(decoded[:, :, None], 3, axis=2), is_gray=True, icc_profile=profile).carrying(carried)
    alpha = np.ascontiguousarray(decoded[:, :, 3]) if decoded.shape[2] == 4 else None
    rgb = np.ascontiguousarray(decoded[:, :, 2::-1])
    return Picture(rgb, is_gray=is_gray, alpha=alpha, icc_profile=profile).carrying(carried)
