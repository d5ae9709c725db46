"""Lists the kinds of picture files that are read and written, and what each of them holds."""

import functools
import io
import struct
import zlib

import cv2
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from memgan.errors import MissingDependencyError
from memgan.runtime.picture_formats import PICTURE_FORMATS, FileFormat, installed_suffixes

_BY_SUFFIX = {suffix: form for form in PICTURE_FORMATS for suffix in form.suffixes}
HEIF_SUFFIXES = tuple(suffix for suffix, form in _BY_SUFFIX.items() if form.name == "HEIF")
FORMATS = {
    suffix: form
    for suffix, form in sorted(_BY_SUFFIX.items())
    if form.name != "HEIF" and (form.name != "AVIF" or features.check("avif"))  # some builds of Pillow lack AVIF
}
IMAGE_SUFFIXES = tuple(FORMATS)
"""Suffixes (lower case) of the files that are read and written; ``.heic`` and ``.heif`` need pillow-heif besides."""

DECODE_ERRORS = (
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
"""What Pillow's decoders raise on damaged data; an error of another kind is a fault of this library."""

_READERS = tuple(
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        WebPImagePlugin.WebPImageFile,
        TiffImagePlugin.TiffImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        PpmImagePlugin.PpmImageFile,
        AvifImagePlugin.AvifImageFile,
    )
)
_RAW_BEGINNINGS = (
    (b"ftypcrx ", 4),  # Canon CR3
    (b"FUJIFILMCCD-RAW", 0),
    *((begin, 0) for begin in (b"IIRO", b"IIRS", b"MMOR")),  # Olympus
    (b"IIU\0", 0),  # Panasonic
    (b"FOVb", 0),  # Sigma
    (b"\0MRM", 0),  # Minolta
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def is_heif(data: bytes) -> bool:
    """Whether a file begins like a HEIF picture, as telephones store them."""
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIF_BRANDS:
        return False
    return b"avif" not in data[8 : min(int.from_bytes(data[:4], "big"), 256)]  # the other pictures in such files


def is_raw_file(data: bytes) -> bool:
    """Whether a file begins like the raw data of a camera's sensor; many kinds are known only by their TIFF tags."""
    is_canon = data[:4] == b"II*\0" and data[8:10] == b"CR"
    return is_canon or any(data.startswith(begin, at) for begin, at in _RAW_BEGINNINGS)


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Pillow's view of a picture file, nothing of it decoded yet; its size is for the caller to check.

    Only the kinds of files that are read here are tried: among Pillow's others is one, EPS, that runs a program on
    whatever the file says.

    Raises:
        PIL.UnidentifiedImageError: if the file is of none of these kinds.
        MissingDependencyError: if it is a HEIF picture, and pillow-heif is not installed.
        One of :data:`DECODE_ERRORS`: if it is damaged.
    """
    if is_heif(data):
        enable_heif()
    for name in ("HEIF",) if is_heif(data) else _READERS:
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(data[:16]) is True:
            # Not Image.open, whose limit for the size of pictures belongs to the whole process.
            image = factory(io.BytesIO(data), "")
            if isinstance(image, ImageFile.ImageFile):
                return image
    raise UnidentifiedImageError("no picture of a kind that is read")


@functools.lru_cache(maxsize=1)
def enable_heif() -> None:
    """Teach Pillow to read and write HEIF pictures; without pillow-heif a :class:`MissingDependencyError`."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise MissingDependencyError(
            f"HEIC pictures need pillow-heif ({error}); install it with: pip install 'memgan[heic]', or convert the "
            "picture to JPEG or PNG"
        ) from error
    register_heif_opener()


def format_of(suffix: str) -> FileFormat | None:
    """The format by the suffix (lower case, with dot) of its files; ``None`` if it is not known here."""
    if suffix in HEIF_SUFFIXES:
        enable_heif()
        return _BY_SUFFIX[suffix]
    return FORMATS.get(suffix)


@functools.lru_cache(maxsize=1)
def all_suffixes() -> tuple[str, ...]:
    """:data:`IMAGE_SUFFIXES`, and those of HEIF where pillow-heif is installed."""
    return installed_suffixes()
