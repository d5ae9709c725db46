"""Picture files: reading with EXIF orientation, ICC profiles, 16 bit and transparency; writing all at once."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from memgan.errors import ImageError, OutputError
from memgan.image.picture import Picture, check_size, gray_of, to_8bit

_FORMATS = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
IMAGE_SUFFIXES = tuple(_FORMATS)
"""Suffixes (lower case) of the files that are read and written."""

# What Pillow's decoders raise on damaged data; an error of another kind is a fault of this library.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, IndexError, TypeError, EOFError, struct.error, zlib.error)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 33  # signature and IHDR chunk
_EXIF_ORIENTATION = 0x0112
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

    The picture is turned as its EXIF orientation says. 8-bit colours are converted to sRGB when the file carries a
    colour profile; 16-bit colours (PNG, TIFF) keep their values and their profile. Of an animation or of several
    pages the first one is read.

    Raises:
        ImageError: if the file is missing, a folder, not a picture, truncated, or of a size outside the limits.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not a picture; pass the files in it one by one")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    return decode_picture(data, str(path))


def decode_picture(data: bytes, name: str = "picture") -> Picture:
    """Decode the bytes of a picture file as :func:`load_picture` does; ``name`` is used in messages.

    Raises:
        ImageError: if the bytes are no complete picture, or of a size outside the limits.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); copy or download it again")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; their size is checked here before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                check_size(*image.size, what=name)
                image.load()  # raises if the data end early
                return _decode_16bit(data, image) if _has_16bit(data, image) else from_pil(image)
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture; allowed are {', '.join(IMAGE_SUFFIXES)} files") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has far more pixels than are allowed; shrink it first") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name} is truncated or damaged ({error}); copy or download it again") from error


def from_pil(image: Image.Image) -> Picture:
    """Take over a PIL picture: upright as its EXIF orientation says, colours as sRGB.

    Raises:
        ImageError: if its mode holds no picture counts (``I``, ``F``), or its size is outside the limits.
    """
    check_size(*image.size)
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        counts = np.asarray(image).astype(np.uint16)
        return Picture(rgb=np.repeat(counts[:, :, None], 3, axis=2), is_gray=True)
    if image.mode in ("I", "F"):
        raise ImageError(f"PIL picture has mode {image.mode!r}; allowed are 8-bit modes and 'I;16'; use convert('RGB')")
    is_gray = image.mode in ("1", "L", "LA", "La")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("L" if is_gray else "RGB")
    if profile:
        image = _to_srgb(image, profile)
    return Picture(rgb=np.array(image.convert("RGB")), is_gray=is_gray, alpha=alpha)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """RGB, L or CMYK picture with a colour profile to RGB in sRGB; unusable profiles are reported and ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        # A gray picture that was stored with an RGB profile, or a damaged one: the pixels are still good.
        warnings.warn(f"the picture's colour profile is unusable ({error}); taking sRGB instead", stacklevel=3)
        return image


def _has_16bit(data: bytes, image: Image.Image) -> bool:
    """Whether a PNG or TIFF stores 16 bit per channel, of which Pillow hands on only 8 for colours."""
    if data.startswith(_PNG_SIGNATURE):
        return data[24] == 16
    tags = getattr(image, "tag_v2", None)
    return tags is not None and set(tags.get(_TIFF_BITS_PER_SAMPLE, (8,))) == {16}


def _decode_16bit(data: bytes, image: Image.Image) -> Picture:
    """16-bit PNG or TIFF, read by OpenCV; ``image`` is Pillow's view of the same file."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise ValueError("unsupported kind of 16-bit picture")
    swap, flip_rows, flip_columns = _ORIENTATIONS.get(image.getexif().get(_EXIF_ORIENTATION, 1), (False,) * 3)
    if swap:
        decoded = decoded.swapaxes(0, 1)
    decoded = decoded[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    is_gray = decoded.ndim == 2 or image.mode.startswith("I") or image.mode in ("L", "LA")
    profile = image.info.get("icc_profile")
    if decoded.ndim == 2:
        return Picture(rgb=np.repeat(decoded[:, :, None], 3, axis=2), is_gray=True, icc_profile=profile)
    alpha = np.ascontiguousarray(decoded[:, :, 3]) if decoded.shape[2] == 4 else None
    rgb = np.ascontiguousarray(decoded[:, :, 2::-1])
    return Picture(rgb=rgb, is_gray=is_gray, alpha=alpha, icc_profile=profile)


def encode_picture(picture: Picture, suffix: str, quality: int = 95) -> bytes:
    """The bytes of a picture file of the kind that ``suffix`` (``".png"``, ...) names.

    PNG and TIFF keep 16 bit; the other kinds get it rounded to 8. JPEG and BMP have no transparency: it is dropped,
    not composited. A gray picture is stored with one channel.

    Args:
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        OutputError: if the suffix is unknown, or the format cannot hold a picture of this size.
    """
    suffix = suffix.lower()
    if suffix not in _FORMATS:
        raise OutputError(f"cannot write pictures as {suffix or 'a file without suffix'!r}; use {', '.join(_FORMATS)}")
    kind = _FORMATS[suffix]
    alpha = picture.alpha if kind in ("PNG", "TIFF", "WEBP") else None
    if picture.rgb.dtype == np.uint16 and kind in ("PNG", "TIFF"):
        return _encode_16bit(picture, alpha, suffix)
    colors = gray_of(picture.rgb8) if picture.is_gray else picture.rgb8
    image = Image.fromarray(colors if alpha is None else np.dstack([colors, to_8bit(alpha)]))
    options: dict[str, object] = {"icc_profile": picture.icc_profile} if picture.icc_profile else {}
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
    if kind == "JPEG" and not picture.is_gray:
        options["subsampling"] = 0  # full colour resolution: faces are small
    if kind == "PNG":
        options["compress_level"] = 3  # a third of the time of the default for 5 % more bytes
    if kind == "TIFF":
        options["compression"] = "tiff_lzw"
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, struct.error) as error:
        size = f"{image.width} x {image.height}"
        raise OutputError(f"{kind} cannot hold this {size} picture ({error}); use PNG") from error
    return buffer.getvalue()


def _encode_16bit(picture: Picture, alpha: np.ndarray | None, suffix: str) -> bytes:
    colors = gray_of(picture.rgb) if picture.is_gray and alpha is None else picture.rgb[:, :, ::-1]
    encoded, data = cv2.imencode(suffix, colors if alpha is None else np.dstack([colors, alpha]))
    if not encoded:
        raise OutputError(f"OpenCV cannot write this {picture.width} x {picture.height} picture as {suffix}; use .png")
    if picture.icc_profile is None or suffix != ".png":
        return data.tobytes()
    # OpenCV writes no profile: put an iCCP chunk behind the header.
    body = b"iCCP" + b"ICC profile\0\0" + zlib.compress(picture.icc_profile)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:_PNG_HEADER_BYTES].tobytes() + chunk + data[_PNG_HEADER_BYTES:].tobytes()


def save_picture(picture: Picture, path: str | os.PathLike[str], quality: int = 95) -> None:
    """Write a picture file, all or nothing: an interrupted or failing call leaves no partial file.

    See :func:`encode_picture` for what each kind of file keeps.

    Raises:
        OutputError: if the suffix is unknown, the format cannot hold the picture, or the folder cannot be written.
    """
    path = Path(path)
    data = encode_picture(picture, path.suffix, quality)
    # Not tempfile: it would leave the file readable by its owner only.
    partial = path.with_name(f".{path.name[:40]}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path} ({reason}); check that the folder exists and can be written") from error
