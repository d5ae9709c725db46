"""Keeps what picture files say besides their pixels through a restoration: EXIF notes and color profiles."""

import io
import struct
import warnings
import zlib

from PIL import Image, ImageCms

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
# Notes about the picture. Left out: the layout of the file it was in, its orientation (the pixels are turned already)
# and its thumbnail (which would still show the face as it was).
_KEPT_TAGS = (
    *(0x010E, 0x010F, 0x0110),  # description, camera maker, camera model
    *(0x011A, 0x011B, 0x0128),  # resolution horizontally and vertically, its unit
    *(0x0131, 0x0132, 0x013B, 0x013C),  # software, date, artist, computer
    *(0x4746, 0x8298),  # rating, copyright
    *range(0x9C9B, 0x9CA0),  # title, comment, author, keywords, subject as Windows writes them
)
DAMAGE_ERRORS = (ValueError, TypeError, KeyError, IndexError, OverflowError, SyntaxError, struct.error, OSError)
"""What Pillow raises on damaged data; an error of another kind is a fault of this library."""
_PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
_EXIF_WARNING = "the picture's EXIF notes are damaged ({}); leaving them out"
_PROFILE_WARNING = "the picture's color profile is unusable ({}); taking sRGB instead"
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF notes of a PIL picture that stay true when its pixels change; ``None`` if there are none to keep."""
    try:
        given, kept = image.getexif(), Image.Exif()
        for tag in _KEPT_TAGS:
            if tag in given:
                kept[tag] = given[tag]
        for directory in (_EXIF_IFD, _GPS_IFD):
            notes = given.get_ifd(directory)
            if notes:
                kept[directory] = dict(notes)
        return kept.tobytes() if len(kept) else None
    except DAMAGE_ERRORS as error:
        warnings.warn(_EXIF_WARNING.format(error), stacklevel=3)
        return None


def exif_for_size(exif: bytes, width: int, height: int) -> bytes | None:
    """The same notes for a picture of another size in pixels; ``None``, and a warning, if they are damaged."""
    try:
        notes = Image.Exif()
        notes.load(exif)
        details = notes.get_ifd(_EXIF_IFD)
        if _PIXEL_WIDTH in details or _PIXEL_HEIGHT in details:
            notes[_EXIF_IFD] = {**details, _PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
        return notes.tobytes() if len(notes) else None
    except DAMAGE_ERRORS as error:
        warnings.warn(_EXIF_WARNING.format(error), stacklevel=3)
        return None


def usable_profile(image: Image.Image) -> bytes | None:
    """The color profile of a PIL picture if it is one for its channels; others are reported and left out."""
    profile: bytes | None = image.info.get("icc_profile")
    if not profile:
        return None
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except _PROFILE_ERRORS as error:
        warnings.warn(_PROFILE_WARNING.format(error), stacklevel=3)
        return None
    wanted = "L" if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I") else image.mode
    wanted = wanted if wanted in ("L", "CMYK") else "RGB"
    if _SPACES.get(space) != wanted:
        warnings.warn(f"the color profile ({space}) is unusable for {image.mode} pixels; left out", stacklevel=3)
        return None
    return profile


def convert_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """RGB, L or CMYK picture with a usable color profile to RGB in sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except _PROFILE_ERRORS as error:
        warnings.warn(_PROFILE_WARNING.format(error), stacklevel=3)
        return image
    return image if converted is None else converted  # None is for conversions in place


def add_png_chunks(png: bytes, icc_profile: bytes | None, exif: bytes | None) -> bytes:
    """Put a color profile and EXIF notes behind the header of a PNG file that has none."""
    header_bytes = 33  # signature and IHDR chunk
    chunks = b""
    if icc_profile:
        chunks += _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile))
    if exif:
        chunks += _png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return png[:header_bytes] + chunks + png[header_bytes:]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
