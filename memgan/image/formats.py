"""Lists the kinds of picture files that are read and written, and what each of them holds."""

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping

from PIL import features

from memgan.errors import MissingDependencyError


@dataclasses.dataclass(frozen=True)
class FileFormat:
    """A kind of picture files."""

    name: str
    """As Pillow calls it."""
    has_alpha: bool = False
    has_quality: bool = False
    """Whether it loses detail, the more the lower its ``quality`` of 1 to 100 is."""
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Pillow's further options for writing it."""


# Color is stored in full resolution where a format may reduce it: faces are small.
_JPEG = FileFormat("JPEG", has_quality=True, options={"subsampling": 0})
# A third of the time of the default for 5 % more bytes.
_PNG = FileFormat("PNG", has_alpha=True, options={"compress_level": 3})
_TIFF = FileFormat("TIFF", has_alpha=True, options={"compression": "tiff_lzw"})
_AVIF = FileFormat("AVIF", has_alpha=True, has_quality=True, options={"subsampling": "4:4:4"})
_HEIF = FileFormat("HEIF", has_alpha=True, has_quality=True, options={"chroma": 444})

FORMATS: dict[str, FileFormat] = {
    ".bmp": FileFormat("BMP"),
    ".jpeg": _JPEG,
    ".jpg": _JPEG,
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": FileFormat("WEBP", has_alpha=True, has_quality=True),
    # Some builds of Pillow lack this decoder.
    **({".avif": _AVIF} if features.check("avif") else {}),
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
        return _HEIF
    return FORMATS.get(suffix)


@functools.lru_cache(maxsize=1)
def all_suffixes() -> tuple[str, ...]:
    """:data:`IMAGE_SUFFIXES`, and those of HEIF where pillow-heif is installed."""
    return IMAGE_SUFFIXES + (HEIF_SUFFIXES if importlib.util.find_spec("pillow_heif") else ())
