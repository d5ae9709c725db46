"""Lists the kinds of picture files. Loads nothing heavy, so that a command can print its help at once."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class FileFormat:
    """A kind of picture files."""

    name: str
    """As Pillow calls it."""
    suffixes: tuple[str, ...]
    """Of its files, in lower case, with dot; the first is the one that ``memgan restore --ext`` offers."""
    has_alpha: bool = False
    """Whether it holds transparency."""
    has_quality: bool = False
    """Whether it loses detail, the more the lower its ``quality`` of 1 to 100 is."""
    has_notes: bool = True
    """Whether Pillow writes color profile and EXIF notes into it; if not, colors are converted to sRGB."""
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Pillow's further options for writing it."""


PICTURE_FORMATS = (
    # A third of the time of the default for 5 % more bytes.
    FileFormat("PNG", (".png",), has_alpha=True, options={"compress_level": 3}),
    # Color is stored in full resolution where a format may reduce it: faces are small.
    FileFormat("JPEG", (".jpg", ".jpeg"), has_quality=True, options={"subsampling": 0}),
    FileFormat("WEBP", (".webp",), has_alpha=True, has_quality=True),
    FileFormat("TIFF", (".tif", ".tiff"), has_alpha=True, options={"compression": "tiff_lzw"}),
    FileFormat("BMP", (".bmp",), has_notes=False),
    FileFormat("AVIF", (".avif",), has_alpha=True, has_quality=True, options={"subsampling": "4:4:4"}),
    FileFormat("HEIF", (".heic", ".heif"), has_alpha=True, has_quality=True, options={"chroma": 444}),
)
"""All kinds; AVIF needs a Pillow that was built with it, HEIF the package pillow-heif."""
EXTENSIONS = tuple(form.suffixes[0].removeprefix(".") for form in PICTURE_FORMATS)
