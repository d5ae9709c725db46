"""Writes picture files, all or nothing, with all notes that the kind of file can hold."""

import io
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from memgan.errors import OutputError
from memgan.image.containers import add_png_chunks
from memgan.image.formats import HEIF_SUFFIXES, IMAGE_SUFFIXES, format_of
from memgan.image.notes.writers import (
    Outgoing,
    add_jpeg2000_boxes,
    add_tiff_tags,
    jpeg_segments_of,
    outgoing,
    png_chunks_of,
    set_jpeg_density,
)
from memgan.image.palette import NUM_COLORS, TOO_MANY_COLORS, indexed
from memgan.image.picture import Picture, gray_of, to_8bit
from memgan.image.profiles import convert_to_srgb
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.checks import check_number
from memgan.runtime.picture_formats import FileFormat

DEFAULT_QUALITY = 95
"""Of files that lose detail, if the input is of another kind."""
MIN_JPEG_QUALITY = 75
"""Of JPEG files made from JPEG files of a lower quality, which would blur what was restored."""
_SUBSAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


class Encoded(NamedTuple):
    """A picture file."""

    data: bytes
    problems: tuple[str, ...]
    """Short sentences on what the file cannot hold of what the picture carries."""


def encode_picture(picture: Picture, suffix: str, quality: int | None = None, provenance: bool = True) -> bytes:
    """The bytes of a picture file of the kind that ``suffix`` (``".png"``, ...) names.

    What becomes of notes, color profile, 16 bit and transparency is a table in memgan/image/README.md; see
    :func:`encode` for what a file cannot hold. A gray picture is stored with one channel where the format has that.

    Args:
        quality: 1 to 100, for the kinds that lose detail; ``None``: by the input, see :func:`encode`.
        provenance: state in XMP that faces were restored, if any were.

    Raises:
        OutputError: if the suffix is unknown, or the format cannot hold a picture of this size.
        ConfigError: if the quality is out of range.
        MissingDependencyError: for HEIC without pillow-heif.
    """
    return encode(picture, suffix, quality, provenance).data


def encode(picture: Picture, suffix: str, quality: int | None = None, provenance: bool = True) -> Encoded:
    """As :func:`encode_picture`, with what was lost.

    Without ``quality``, a picture from a file of the same kind is written without loss if that was, and a JPEG file is
    written with the quantization tables and the chroma subsampling of the input, so that blocks in which nothing
    changed stay as they are; below quality 75 with that quality. All others get 95 and chroma in full resolution.
    """
    form = format_of(suffix.lower())
    if form is None:
        allowed = ", ".join((*IMAGE_SUFFIXES, *HEIF_SUFFIXES))
        raise OutputError(f"cannot write pictures as {suffix or 'a file without suffix'!r}; use {allowed}")
    if quality is not None:
        quality = int(check_number("quality", quality, 1, 100))
    out = outgoing(picture, form, provenance)
    data = _ENCODERS.get(form.name, _encode_with_pillow)(picture, form, out, quality)
    return Encoded(data, tuple(dict.fromkeys(out.problems)))


def suffix_for(picture: Picture, named: str) -> str:
    """The suffix for a picture that is to be written as what it was read from.

    Args:
        named: the suffix (with dot) of the file that it was read from.

    Returns:
        ``named``, if it names the kind that the file really is, and that kind is written here; otherwise the suffix
        of the real kind, and ``.png`` where that is not written.
    """
    real = None if picture.origin is None else picture.origin.format
    form = format_of(named.lower()) if named.lower() in IMAGE_SUFFIXES or real == "HEIF" else None
    if form is not None and real in (form.name, None):
        return named
    written = next((suffix for suffix in (*IMAGE_SUFFIXES, *HEIF_SUFFIXES) if _names(suffix, real)), None)
    return written or ".png"


def _names(suffix: str, kind: str | None) -> bool:
    form = format_of(suffix) if suffix in IMAGE_SUFFIXES or kind == "HEIF" else None
    return form is not None and form.name == kind and form.suffixes[0] == suffix


def _deep_channels(picture: Picture, form: FileFormat, out: Outgoing) -> tuple[np.ndarray, bytes | None]:
    """(H, W) gray, (H, W, 3) RGB or (H, W, 4), all of them uint16, and their color profile.

    Gray with transparency becomes RGB: few programs read two channels of 16 bit, and OpenCV does not write them.
    """
    profile = _profile_of(picture, form)
    if picture.alpha is None:
        return (gray_of(picture.rgb) if picture.is_gray else picture.rgb), profile
    if picture.is_gray and profile is not None:
        profile = None
        out.problems.append(f"the color profile of gray is dropped: {form.name} gets RGB for 16 bit and transparency")
    return np.dstack([picture.rgb, picture.alpha]), profile


def _profile_of(picture: Picture, form: FileFormat) -> bytes | None:
    """The color profile for a file: one that says what cICP, or gAMA and cHRM, say where these cannot be kept."""
    if picture.icc_profile is not None:
        return picture.icc_profile
    said_by = "gAMA, cHRM" if picture.notes.cicp is None else "cICP"
    return None if form.fates[said_by].kind == "kept" else picture.profile


def _pil_of(picture: Picture, form: FileFormat) -> tuple[Image.Image, bytes | None]:
    """8-bit picture with the channels that the format holds, and its color profile."""
    profile = _profile_of(picture, form)
    colors = Image.fromarray(to_8bit(gray_of(picture.rgb) if picture.is_gray else picture.rgb))
    if profile is not None and form.fates["color profile"].kind != "kept":
        colors, profile = convert_to_srgb(colors, profile).convert(colors.mode), None
    if picture.is_gray and form.fates["gray"].kind != "kept":
        # A profile of gray does not suit the three channels that the file gets.
        colors, profile = (convert_to_srgb(colors, profile) if profile is not None else colors.convert("RGB")), None
    if picture.alpha is not None and form.fates["alpha"].kind != "dropped":
        alpha = to_8bit(picture.alpha)
        if form.fates["alpha"].kind == "converted":
            alpha = np.where(alpha < 128, np.uint8(0), np.uint8(255))
        colors.putalpha(Image.fromarray(alpha))
    return colors, profile


def _encode_with_pillow(picture: Picture, form: FileFormat, out: Outgoing, quality: int | None) -> bytes:
    image, profile = _pil_of(picture, form)
    options = {**form.options, **_quality_options(picture, form, out, quality)}
    if form.fates["EXIF"].kind == "kept":
        options |= {name: note for name, note in (("exif", out.exif), ("xmp", out.xmp)) if note is not None}
    if profile is not None:
        options["icc_profile"] = profile
    if form.name == "HEIF" and out.colors.cicp is not None:
        primaries, transfer, matrix, full_range = out.colors.cicp
        names = ("color_primaries", "transfer_characteristics", "full_range_flag")
        options |= dict(zip(names, (primaries, transfer, full_range), strict=True))
        options.setdefault("matrix_coefficients", matrix or 6)
    if form.name == "BMP":
        options["dpi"] = out.dpi or (0, 0)  # Pillow would state one by itself
    return _saved(image, form.name, options)


def _quality_options(picture: Picture, form: FileFormat, out: Outgoing, quality: int | None) -> dict[str, Any]:
    if not form.has_quality:
        return {}
    origin = picture.origin
    is_same = origin is not None and origin.format == form.name
    if quality is None and is_same and origin is not None and origin.is_lossless:
        if form.lossless is not None:
            return dict(form.lossless)
        out.problems.append(f"{form.name} is not written without loss, as the input is: it is written at quality 100")
        quality = 100
    return {"quality": DEFAULT_QUALITY if quality is None else quality}


def _saved(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        size = f"{image.width} x {image.height}"
        raise OutputError(f"{kind} cannot hold this {size} picture ({error}); use PNG") from error
    return buffer.getvalue()


def _encode_jpeg(picture: Picture, form: FileFormat, out: Outgoing, quality: int | None) -> bytes:
    image, profile = _pil_of(picture, form)
    options: dict[str, Any] = {"quality": DEFAULT_QUALITY if quality is None else quality, "subsampling": 0}
    origin = picture.origin
    if origin is not None and origin.format == "JPEG":
        options["subsampling"] = _SUBSAMPLINGS.get(origin.subsampling or "", 0)
        if quality is None and (origin.quality or 0) >= MIN_JPEG_QUALITY:
            options["qtables"] = [list(table) for table in origin.quantization]
            del options["quality"]  # which would scale them
        elif quality is None:
            options["quality"] = MIN_JPEG_QUALITY
    options |= {name: note for name, note in (("exif", out.exif), ("xmp", out.xmp)) if note is not None}
    data = _saved(image, "JPEG", {**options, "icc_profile": profile, "extra": jpeg_segments_of(out)})
    return data if out.dpi is None else set_jpeg_density(data, out.dpi)


def _encode_png(picture: Picture, form: FileFormat, out: Outgoing, quality: int | None) -> bytes:
    if picture.peak == 255:
        image, profile = _pil_of(picture, form)
        return add_png_chunks(_saved(image, "PNG", dict(form.options)), png_chunks_of(out, profile))
    channels, profile = _deep_channels(picture, form, out)
    order = [0] if channels.ndim == 2 else [2, 1, 0, 3][: channels.shape[2]]
    encoded, data = cv2.imencode(".png", channels if channels.ndim == 2 else channels[:, :, order])
    if not encoded:
        size = f"{channels.shape[1]} x {channels.shape[0]}"
        raise OutputError(f"OpenCV cannot write a picture of {size} pixels as PNG; use .tiff")
    return add_png_chunks(data.tobytes(), png_chunks_of(out, profile))  # OpenCV writes none of them


def _encode_tiff(picture: Picture, form: FileFormat, out: Outgoing, quality: int | None) -> bytes:
    import tifffile  # neither Pillow nor OpenCV writes 16-bit colors with a profile

    if picture.peak == 255:
        image, profile = _pil_of(picture, form)
        channels = np.asarray(image)
    else:
        channels, profile = _deep_channels(picture, form, out)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        channels,
        byteorder=">" if out.tags is not None and out.tags.order == ">" else "<",
        bigtiff=False,
        photometric="minisblack" if channels.ndim == 2 or channels.shape[2] == 2 else "rgb",
        planarconfig=None if channels.ndim == 2 else "contig",
        extrasamples=None if picture.alpha is None else ["unassalpha"],
        compression="zlib",
        iccprofile=profile,
        metadata=None,
        software=False,
    )
    return add_tiff_tags(buffer.getvalue(), out)


def _encode_gif(picture: Picture, form: FileFormat, out: Outgoing, quality: int | None) -> bytes:
    image, is_exact = indexed(picture)
    if not is_exact:
        out.problems.append(TOO_MANY_COLORS)
    options: dict[str, Any] = {"comment": b"\n".join(out.comments)} if out.comments else {}
    if picture.alpha is not None:
        options["transparency"] = NUM_COLORS
    return _saved(image, "GIF", {**options, "optimize": False})


def _encode_jpeg2000(picture: Picture, form: FileFormat, out: Outgoing, quality: int | None) -> bytes:
    image, profile = _pil_of(picture, form)
    chosen = _quality_options(picture, form, out, quality)
    if "quality" in chosen:
        decibels = 30 + chosen.pop("quality") / 5
        chosen = {"irreversible": True, "quality_mode": "dB", "quality_layers": [decibels]}
    if out.comments:
        chosen["comment"] = b"\n".join(out.comments)[:65531]
    return add_jpeg2000_boxes(_saved(image, "JPEG2000", chosen), out, profile)


_ENCODERS = {
    "JPEG": _encode_jpeg,
    "PNG": _encode_png,
    "TIFF": _encode_tiff,
    "JPEG2000": _encode_jpeg2000,
    "GIF": _encode_gif,
}


def save_picture(
    picture: Picture, path: str | os.PathLike[str], quality: int | None = None, provenance: bool = True
) -> tuple[str, ...]:
    """Write a picture file, all or nothing: an interrupted or failing call leaves no partial file.

    See :func:`encode_picture` for what each kind of file keeps.

    Args:
        quality: 1 to 100, for the kinds that lose detail; ``None``: by the input, see :func:`encode`.
        provenance: state in XMP that faces were restored, if any were.

    Returns:
        Short sentences on what the file cannot hold of what the picture carries.

    Raises:
        OutputError: if the suffix is unknown, the format cannot hold the picture, or the folder cannot be written.
        ConfigError: if the quality is out of range.
        MissingDependencyError: for HEIC without pillow-heif.
    """
    path = Path(path)
    encoded = encode(picture, path.suffix, quality, provenance)
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded.data)
    return encoded.problems
