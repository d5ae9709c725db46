"""Which kinds of picture files can be read and written here."""

import functools
import importlib.util

from PIL import features

from memgan.errors import MissingDependencyError

FORMATS = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    # Older builds of Pillow lack this decoder.
    **({".avif": "AVIF"} if features.check("avif") else {}),
}
HEIF_SUFFIXES = (".heic", ".heif")
IMAGE_SUFFIXES = tuple(FORMATS)
"""Suffixes (lower case) of the files that are read and written; ``.heic`` and ``.heif`` need pillow-heif besides."""

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def is_heif(data: bytes) -> bool:
    """Whether a file begins like a HEIF picture, as telephones store them."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


@functools.lru_cache(maxsize=1)
def enable_heif() -> None:
    """Teach Pillow to read and write HEIF pictures.

    Raises:
        MissingDependencyError: if pillow-heif is not installed.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise MissingDependencyError(
            f"HEIC pictures need pillow-heif ({error}); install it with: pip install 'memgan[heic]', or convert the "
            "picture to JPEG or PNG"
        ) from error
    register_heif_opener()


def format_of(suffix: str) -> str | None:
    """Pillow's name of a format by the suffix (lower case, with dot) of its files; ``None`` if it is not known here.

    Raises:
        MissingDependencyError: for HEIF without pillow-heif.
    """
    if suffix in HEIF_SUFFIXES:
        enable_heif()
        return "HEIF"
    return FORMATS.get(suffix)


@functools.lru_cache(maxsize=1)
def all_suffixes() -> tuple[str, ...]:
    """:data:`IMAGE_SUFFIXES`, and those of HEIF where pillow-heif is installed."""
    return IMAGE_SUFFIXES + (HEIF_SUFFIXES if importlib.util.find_spec("pillow_heif") else ())
