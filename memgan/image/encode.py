"""Writes picture files, all or nothing, with their color profile and EXIF notes."""

import io
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from memgan.errors import OutputError
from memgan.image.formats import HEIF_SUFFIXES, IMAGE_SUFFIXES, format_of
from memgan.image.metadata import add_png_chunks, convert_to_srgb, exif_for_size
from memgan.image.picture import Picture, gray_of, to_8bit
from memgan.runtime.atomic_file import atomic_write

_MAX_JPEG_EXIF_BYTES = 65533


def encode_picture(picture: Picture, suffix: str, quality: int = 95) -> bytes:
    """The bytes of a picture file of the kind that ``suffix`` (``".png"``, ...) names.

    PNG and TIFF keep 16 bit; the other kinds get it rounded to 8. JPEG and BMP have no transparency: it is dropped,
    not composited. A gray picture is stored with one channel. The color profile is kept (BMP holds none: the colors
    are converted to sRGB), and EXIF notes are (not in BMP and 16-bit TIFF).

    Args:
        quality: 1 to 100, for the kinds that lose detail.

    Raises:
        OutputError: if the suffix is unknown, or the format cannot hold a picture of this size.
        MissingDependencyError: for HEIC without pillow-heif.
    """
    suffix = suffix.lower()
    form = format_of(suffix)
    if form is None:
        allowed = ", ".join((*IMAGE_SUFFIXES, *HEIF_SUFFIXES))
        raise OutputError(f"cannot write pictures as {suffix or 'a file without suffix'!r}; use {allowed}")
    exif = exif_for_size(picture.exif, picture.width, picture.height) if picture.exif else None
    kind, alpha = form.name, picture.alpha if form.has_alpha else None
    if picture.rgb.dtype == np.uint16 and kind in ("PNG", "TIFF"):
        channels = gray_of(picture.rgb) if picture.is_gray and alpha is None else picture.rgb
        channels = channels if alpha is None else np.dstack([channels, alpha])
        if kind == "PNG":
            return _encode_16bit_png(channels, picture.icc_profile, exif)
        return _encode_16bit_tiff(channels, picture.icc_profile)
    colors = gray_of(picture.rgb8) if picture.is_gray else picture.rgb8
    image = Image.fromarray(colors if alpha is None else np.dstack([colors, to_8bit(alpha)]))
    options: dict[str, Any] = dict(form.options)
    if picture.icc_profile and kind == "BMP":
        image = convert_to_srgb(image, picture.icc_profile).convert(image.mode)
    elif picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if exif and kind != "BMP" and not (kind == "JPEG" and len(exif) > _MAX_JPEG_EXIF_BYTES):
        options["exif"] = exif
    if form.has_quality:
        options["quality"] = quality
    if kind == "TIFF" and "exif" in options:
        del options["compression"]  # libtiff, which compresses, does not take the notes' folders
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        size = f"{image.width} x {image.height}"
        raise OutputError(f"{kind} cannot hold this {size} picture ({error}); use PNG") from error
    return buffer.getvalue()


def _encode_16bit_png(channels: np.ndarray, icc_profile: bytes | None, exif: bytes | None) -> bytes:
    if channels.ndim == 3:
        channels = channels[:, :, [2, 1, 0, 3][: channels.shape[2]]]
    encoded, data = cv2.imencode(".png", channels)
    if not encoded:
        raise OutputError(f"OpenCV cannot write a picture of shape {channels.shape} as PNG; use .tiff")
    return add_png_chunks(data.tobytes(), icc_profile, exif)  # OpenCV writes neither


def _encode_16bit_tiff(channels: np.ndarray, icc_profile: bytes | None) -> bytes:
    import tifffile  # neither Pillow nor OpenCV writes 16-bit colors with a profile

    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        channels,
        photometric="minisblack" if channels.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if channels.shape[2:] == (4,) else None,
        compression="zlib",
        iccprofile=icc_profile,
        metadata=None,
        software=False,
    )
    return buffer.getvalue()


def save_picture(picture: Picture, path: str | os.PathLike[str], quality: int = 95) -> None:
    """Write a picture file by :func:`atomic_write`, as :func:`encode_picture` encodes it; raises as both do."""
    data = encode_picture(picture, Path(path).suffix, quality)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
