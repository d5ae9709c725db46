"""Lists the kinds of picture files and what each of them holds. Loads nothing heavy, so that a command can print its
help at once.
"""

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Literal, NamedTuple


class Fate(NamedTuple):
    """What becomes of a note when a kind of file is written."""

    kind: Literal["kept", "converted", "dropped"]
    how: str = ""
    """Into what it is converted."""

    def __str__(self) -> str:
        return f"as {self.how}" if self.how else self.kind


KEPT, DROPPED = Fate("kept"), Fate("dropped")
NOTES = (
    "EXIF",
    "XMP",
    "IPTC",
    "color profile",
    "resolution",
    "PNG text",
    "comment",
    "gAMA, cHRM",
    "cICP",
    "alpha",
    "16 bit",
    "gray",
)
"""What a file carries: the columns of the table in memgan/image/README.md."""


def _fates(*fates: Fate) -> Mapping[str, Fate]:
    return dict(zip(NOTES, fates, strict=True))


def _as(how: str) -> Fate:
    return Fate("converted", how)


_ICC, _SRGB, _ROUNDED = _as("color profile"), _as("sRGB"), _as("8 bit")
_LIKE_EXIF = (_as("EXIF"), _as("EXIF, XMP"), _as("EXIF"))  # resolution, PNG text, comment


@dataclasses.dataclass(frozen=True)
class FileFormat:
    """A kind of picture files."""

    name: str
    """As Pillow calls it."""
    suffixes: tuple[str, ...]
    """Of its files, in lower case, with dot; the first is the one that ``memgan restore --ext`` offers."""
    fates: Mapping[str, Fate]
    """What becomes of each of :data:`NOTES`."""
    has_quality: bool = False
    """Whether it loses detail, the more the lower its ``quality`` of 1 to 100 is."""
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Pillow's further options for writing it."""
    lossless: Mapping[str, object] | None = None
    """Pillow's options for writing it without loss instead, if it has a quality and can."""


PICTURE_FORMATS = (
    FileFormat(
        "PNG",
        (".png",),
        _fates(*[KEPT] * 6, _as("PNG text"), *[KEPT] * 5),
        options={"compress_level": 3},  # a third of the time of the default for 5 % more bytes
    ),
    FileFormat(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        _fates(*[KEPT] * 5, _as("comment, EXIF, XMP"), KEPT, _ICC, _ICC, DROPPED, _ROUNDED, KEPT),
        has_quality=True,
    ),
    FileFormat(
        "WEBP",
        (".webp",),
        _fates(KEPT, KEPT, _as("XMP"), KEPT, *_LIKE_EXIF, _ICC, _ICC, KEPT, _ROUNDED, _as("RGB")),
        has_quality=True,
        lossless={"lossless": True, "exact": True},
    ),
    FileFormat(
        "TIFF",
        (".tif", ".tiff"),
        _fates(*[KEPT] * 5, _as("EXIF, XMP"), _as("EXIF"), _ICC, _ICC, KEPT, KEPT, KEPT),
    ),
    FileFormat(
        "BMP",
        (".bmp",),
        _fates(*[DROPPED] * 3, _SRGB, KEPT, DROPPED, DROPPED, _SRGB, _SRGB, DROPPED, _ROUNDED, KEPT),
    ),
    FileFormat(
        "AVIF",
        (".avif",),
        _fates(KEPT, KEPT, _as("XMP"), KEPT, *_LIKE_EXIF, _ICC, _ICC, KEPT, _ROUNDED, _as("RGB")),
        has_quality=True,
        options={"subsampling": "4:4:4"},  # in full resolution where a format may reduce it: faces are small
    ),
    FileFormat(
        "HEIF",
        (".heic", ".heif"),
        _fates(KEPT, KEPT, _as("XMP"), KEPT, *_LIKE_EXIF, _ICC, KEPT, KEPT, _ROUNDED, _as("RGB")),
        has_quality=True,
        options={"chroma": 444},
        lossless={"quality": -1, "chroma": 444, "matrix_coefficients": 0},
    ),
    FileFormat(
        "JPEG2000",
        (".jp2",),
        _fates(*[KEPT] * 5, _as("comment, EXIF, XMP"), KEPT, _ICC, _ICC, KEPT, _ROUNDED, KEPT),
        has_quality=True,
        lossless={"irreversible": False},
    ),
    FileFormat(
        "GIF",
        (".gif",),
        _fates(*[DROPPED] * 3, _SRGB, DROPPED, _as("comment"), KEPT, _SRGB, _SRGB, _as("1 bit"), _ROUNDED, _as("RGB")),
    ),
)
"""All kinds; AVIF needs a Pillow that was built with it, HEIF the package pillow-heif."""
EXTENSIONS = tuple(form.suffixes[0].removeprefix(".") for form in PICTURE_FORMATS)


def installed_suffixes() -> tuple[str, ...]:
    """Of the files that are read and written on this machine."""
    from PIL import features

    has = {"AVIF": features.check("avif"), "HEIF": importlib.util.find_spec("pillow_heif") is not None}
    return tuple(suffix for form in PICTURE_FORMATS if has.get(form.name, True) for suffix in form.suffixes)
