"""Holds what a picture file says besides its pixels, and reads it from files and PIL pictures."""

import dataclasses
import warnings

from PIL import Image

from memgan.image.profiles import exif_of, usable_profile


@dataclasses.dataclass(frozen=True)
class PngText:
    """One text of a PNG file (tEXt, zTXt or iTXt)."""

    keyword: str
    text: str
    language: str = ""
    """RFC 3066 tag; empty: not stated."""
    translated: str = ""
    """The keyword in that language."""


@dataclasses.dataclass(frozen=True)
class Notes:
    """What a file carries besides pixels, alpha, color profile and EXIF. Empty fields: it carries none."""

    xmp: bytes | None = None
    """The XMP packet, UTF-8."""
    iptc: bytes | None = None
    """IPTC-IIM records."""
    dpi: tuple[float, float] | None = None
    """Pixels per inch, horizontally and vertically."""
    text: tuple[PngText, ...] = ()
    """Of a PNG file, in its order."""
    comments: tuple[bytes, ...] = ()
    """Of a JPEG or GIF file, in its order."""
    gamma: float | None = None
    """gAMA of a PNG file: the exponent that encodes light, such as 0.45455."""
    chromaticities: tuple[float, ...] | None = None
    """cHRM of a PNG file: x and y of white, red, green and blue."""
    srgb_intent: int | None = None
    """sRGB of a PNG file: the rendering intent, 0 to 3; then the colors are sRGB."""
    cicp: tuple[int, int, int, int] | None = None
    """Coding-independent code points (ITU-T H.273): primaries, transfer, matrix, 1 for full range."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """What kind of file a picture was read from."""

    format: str
    """As Pillow calls it."""
    width: int
    """In pixels, upright, as in ``height``."""
    height: int
    is_lossless: bool | None = None
    """``None``: the file does not tell."""
    quality: int | None = None
    """Of a JPEG file: 1 to 100 on libjpeg's scale."""
    subsampling: str | None = None
    """Of chroma: ``4:4:4``, ``4:2:2``, ``4:2:0``, ...; ``None``: the file has none or does not tell."""
    bit_depth: int = 8
    """Per channel."""


@dataclasses.dataclass(frozen=True)
class Carried:
    """All that :func:`read_notes` finds."""

    notes: Notes
    origin: Origin | None
    exif: bytes | None
    """EXIF as files hold it, without orientation and thumbnail."""
    icc_profile: bytes | None
    """Color profile that suits the channels of the file."""
    orientation: int
    """1 to 8, as EXIF counts; to be applied to the pixels by whoever decodes them."""
    problems: tuple[str, ...]
    """Short sentences on what is damaged or dropped."""


def read_notes(data: bytes | None, image: Image.Image) -> Carried:
    """What a file carries besides its pixels.

    Args:
        data: the bytes of the file; ``None`` for a PIL picture without one.
        image: Pillow's view of the same file, not yet turned.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        exif, profile = exif_of(image), usable_profile(image)
        orientation = image.getexif().get(0x0112, 1)
    turned = orientation in (5, 6, 7, 8)
    width, height = (image.height, image.width) if turned else image.size
    origin = None if data is None else Origin(image.format or "", width, height)
    problems = tuple(str(one.message) for one in caught)
    return Carried(Notes(), origin, exif, profile, orientation if orientation in range(1, 9) else 1, problems)
