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
from memgan.image.picture import Picture, gray_of, to_8bit
from memgan.image.profiles import add_png_chunks, convert_to_srgb, exif_for_size
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
    height, width = picture.rgb.shape[:2]
    exif = None if picture.exif is None else exif_for_size(picture.exif, width, height)
    kind, alpha = form.name, picture.alpha if form.has_alpha else None
    if picture.rgb.dtype == np.uint16 and kind == "PNG":
        return _encode_16bit_png(picture, alpha, exif)
    if picture.rgb.dtype == np.uint16 and kind == "TIFF":
        return _encode_16bit_tiff(picture, alpha)
    colors = to_8bit(_channels(picture, None))
    image = Image.fromarray(colors if alpha is None else np.dstack([colors, to_8bit(alpha)]))
    options: dict[str, Any] = dict(form.options)
    if picture.icc_profile and not form.has_notes:
        image = convert_to_srgb(image, picture.icc_profile).convert(image.mode)
    elif picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if exif and form.has_notes and not (kind == "JPEG" and len(exif) > _MAX_JPEG_EXIF_BYTES):
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


def _channels(picture: Picture, alpha: np.ndarray | None) -> np.ndarray:
    """(H, W) gray, (H, W, 3) RGB or (H, W, 4)."""
    if alpha is not None:
        return np.dstack([picture.rgb, alpha])
    return gray_of(picture.rgb) if picture.is_gray else picture.rgb


def _encode_16bit_png(picture: Picture, alpha: np.ndarray | None, exif: bytes | None) -> bytes:
    channels = _channels(picture, alpha)
    order = [0] if channels.ndim == 2 else [2, 1, 0, 3][: channels.shape[2]]
    encoded, data = cv2.imencode(".png", channels if channels.ndim == 2 else channels[:, :, order])
    if not encoded:
        raise OutputError(
            f"OpenCV cannot write a picture of {channels.shape[1]} x {channels.shape[0]} pixels as PNG; use .tiff"
        )
    return add_png_chunks(data.tobytes(), picture.icc_profile, exif)  # OpenCV writes neither


def _encode_16bit_tiff(picture: Picture, alpha: np.ndarray | None) -> bytes:
    import tifffile  # neither Pillow nor OpenCV writes 16-bit colors with a profile

    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        _channels(picture, alpha),
        photometric="minisblack" if picture.is_gray and alpha is None else "rgb",
        extrasamples=None if alpha is None else ["unassalpha"],
        compression="zlib",
        iccprofile=picture.icc_profile,
        metadata=None,
        software=False,
    )
    return buffer.getvalue()


def save_picture(picture: Picture, path: str | os.PathLike[str], quality: int = 95) -> None:
    """Write a picture file, all or nothing: an interrupted or failing call leaves no partial file.

    See :func:`encode_picture` for what each kind of file keeps.

    Raises:
        OutputError: if the suffix is unknown, the format cannot hold the picture, or the folder cannot be written.
        MissingDependencyError: for HEIC without pillow-heif.
    """
    path = Path(path)
    data = encode_picture(picture, path.suffix, quality)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
