"""Holds what a picture file says besides its pixels."""

import dataclasses


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
    """The XMP packet, UTF-8, without what restored pixels make untrue (their layout, thumbnails, gain maps)."""
    iptc: bytes | None = None
    """IPTC-IIM records."""
    dpi: tuple[float, float] | None = None
    """Pixels per inch, horizontally and vertically."""
    text: tuple[PngText, ...] = ()
    """Of a PNG file, in its order."""
    comments: tuple[bytes, ...] = ()
    """Of a JPEG, GIF or JPEG 2000 file, in its order."""
    gamma: float | None = None
    """gAMA of a PNG file: the exponent that encodes light, such as 0.45455."""
    chromaticities: tuple[float, ...] | None = None
    """cHRM of a PNG file: x and y of white, red, green and blue."""
    srgb_intent: int | None = None
    """sRGB of a PNG file: the rendering intent, 0 to 3; then the colors are sRGB."""
    cicp: tuple[int, int, int, int] | None = None
    """Coding-independent code points (ITU-T H.273): primaries, transfer, matrix, 1 for full range."""
    restoration: str | None = None
    """How faces of this picture were restored, for the provenance that is written; ``None``: none was."""


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
    """Of the chroma of a JPEG file: ``4:4:4``, ``4:2:2``, ``4:2:0``, ...; ``None``: it is gray or tells none."""
    quantization: tuple[tuple[int, ...], ...] = ()
    """The tables of a JPEG file, 64 numbers each, row by row."""
    bit_depth: int = 8
    """Per channel."""


@dataclasses.dataclass(frozen=True)
class Carried:
    """All that :func:`memgan.image.notes.readers.read_notes` finds."""

    notes: Notes
    origin: Origin | None
    """Its size is that of the pixels in the file, not yet turned."""
    exif: bytes | None
    """EXIF as files hold it, without orientation, layout and thumbnail."""
    icc_profile: bytes | None
    """Color profile that suits the channels of the file."""
    orientation: int
    """1 to 8, as EXIF counts, of the pixels in the file. Pillow turns TIFF pictures by itself."""
    problems: tuple[str, ...]
    """Short sentences on what is damaged or dropped."""
