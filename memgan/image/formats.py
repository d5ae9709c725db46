"""Lists the kinds of picture files that are read and written, and what each of them holds."""

import functools
import importlib.util

from PIL import features

from memgan.errors import MissingDependencyError
from memgan.runtime.picture_formats import PICTURE_FORMATS, FileFormat

_BY_SUFFIX = {suffix: form for form in PICTURE_FORMATS for suffix in form.suffixes}
HEIF_SUFFIXES = tuple(suffix for suffix, form in _BY_SUFFIX.items() if form.name == "HEIF")
FORMATS = {
    suffix: form
    for suffix, form in sorted(_BY_SUFFIX.items())
    if form.name != "HEIF" and (form.name != "AVIF" or features.check("avif"))  # some builds of Pillow lack AVIF
}
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
        return _BY_SUFFIX[suffix]
    return FORMATS.get(suffix)


@functools.lru_cache(maxsize=1)
def all_suffixes() -> tuple[str, ...]:
    """:data:`IMAGE_SUFFIXES`, and those of HEIF where pillow-heif is installed."""
    return IMAGE_SUFFIXES + (HEIF_SUFFIXES if importlib.util.find_spec("pillow_heif") else ())
