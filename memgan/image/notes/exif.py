"""Takes over EXIF from one file to another: what stays true is kept byte for byte."""

import dataclasses
import struct
from fractions import Fraction

from memgan.image.tiff_folders import (
    EXIF_FOLDER,
    SHORT,
    UNDEFINED,
    Folder,
    Tags,
    Value,
    maker_note_moves,
    read_tags,
    write_tags,
)

PREFIX = b"Exif\0\0"
ORIENTATION, DESCRIPTION, ARTIST, COPYRIGHT, SOFTWARE = 0x0112, 0x010E, 0x013B, 0x8298, 0x0131
RESOLUTION_TAGS = X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
USER_COMMENT = 0x9286
XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, ICC_TAG = 0x02BC, 0x83BB, 0x8649, 0x8773
_BITS_PER_SAMPLE, _COMPRESSION = 0x0102, 0x0103
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_SUBJECT_AREA, _SUBJECT_LOCATION = 0x9214, 0xA214
_FOCAL_PLANE_X, _FOCAL_PLANE_Y = 0xA20E, 0xA20F
_WINDOWS_PADDING = 0xEA1C
_CREDENTIALS = 0xCD41
_INCH, _CENTIMETER = 2, 3
_NUMBER_BYTES = {2: (3, 8), 4: (4, 5, 9, 10, 11, 13), 8: (12,)}  # by the kinds of TIFF's values
_CM_PER_INCH = Fraction(254, 100)
# Tags of the first folder that say how the pixels lie in the file that it comes from. A file that is written says so
# anew. Those that hold another view of the picture (the layers of Photoshop) would show the face as it was.
LAYOUT_TAGS = frozenset(
    {
        *range(0x00FE, 0x010E),  # kind of page, size, bits, compression, photometric meaning, ...
        *(0x0111, ORIENTATION, 0x0115, 0x0116, 0x0117, 0x0118, 0x0119, 0x011C),  # strips, samples, planes
        *range(0x0120, 0x0126),  # free bytes, gray curve, fax
        *(0x0129, 0x013D, 0x0140, 0x0141, 0x0142, 0x0143, 0x0144, 0x0145, 0x014A),  # page, predictor, palette, tiles
        *(0x014C, 0x014D, 0x014E, 0x0150, 0x0151, 0x0152, 0x0153, 0x0154, 0x0155, 0x0156, 0x015B),  # inks, samples
        *range(0x0200, 0x020A),  # JPEG streams
        *range(0x0211, 0x0215),  # YCbCr
        *(XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, ICC_TAG),  # carried by themselves
        *(0x935C, 0x80E3, 0x80E4, 0x80E5, 0x80E6),  # layers of Photoshop; matte, tiles, depth of old programs
        _WINDOWS_PADDING,
        _CREDENTIALS,
    }
)
CREDENTIALS_END = "the content credentials (C2PA) are signed for the pixels as they were; they are dropped"
"""A problem."""
MAKER_NOTE_MOVES = "the maker note of the camera moves: programs may fail to read the parts that it points to"
"""A problem."""
_LAYOUT_TAGS_OF_EXIF = frozenset({0x9102, _WINDOWS_PADDING})  # compressed bits per pixel


@dataclasses.dataclass(frozen=True)
class FirstFolder:
    """What the first folder of EXIF or of a TIFF file says."""

    exif: bytes | None = None
    """What stays true when the pixels change, with prefix; without orientation, layout and thumbnail."""
    orientation: int = 1
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    """Photoshop's resources, in which IPTC may lie."""
    compression: int = 1
    """TIFF's number."""
    bit_depth: int = 8
    """16 if all channels have that, else 8."""
    problems: tuple[str, ...] = ()


def read_first_folder(data: bytes, page: int = 0, is_turned: bool = False) -> FirstFolder:
    """Sort what EXIF (with or without prefix) or a page of a TIFF file says.

    Args:
        is_turned: the pixels were turned already, whatever orientation is stated.
    """
    try:
        tags = read_tags(data.removeprefix(PREFIX).removeprefix(PREFIX), page)
    except (ValueError, struct.error) as error:
        return FirstFolder(problems=(f"the EXIF notes are damaged ({error}) and dropped",))
    root, problems = tags.root, []
    if root.num_damaged:
        problems.append(f"{root.num_damaged} of the EXIF notes are damaged and dropped")
    if _CREDENTIALS in root.values:
        problems.append(CREDENTIALS_END)
    orientation = next((int(one) for one in tags.numbers(root.values.get(ORIENTATION))), 1)
    dpi = _dpi_of(tags)
    compression = next((int(one) for one in tags.numbers(root.values.get(_COMPRESSION))), 1)
    depths = set(tags.numbers(root.values.get(_BITS_PER_SAMPLE)))
    xmp, iptc, photoshop = (
        None if value is None else value.data.rstrip(b"\0")
        for value in (root.values.get(tag) for tag in (XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG))
    )
    root.values = {tag: value for tag, value in root.values.items() if tag not in LAYOUT_TAGS}
    details = root.folders.get(EXIF_FOLDER)
    if details is not None:
        dropped = {*_LAYOUT_TAGS_OF_EXIF, *((_SUBJECT_AREA, _SUBJECT_LOCATION) if orientation > 1 or is_turned else ())}
        details.values = {tag: value for tag, value in details.values.items() if tag not in dropped}
    if maker_note_moves(tags):
        problems.append(MAKER_NOTE_MOVES)
    return FirstFolder(
        exif=PREFIX + write_tags(tags) if root else None,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        dpi=dpi,
        xmp=xmp,
        iptc=iptc,
        photoshop=photoshop,
        compression=compression,
        bit_depth=16 if depths == {16} else 8,
        problems=tuple(problems),
    )


def _dpi_of(tags: Tags) -> tuple[float, float] | None:
    across, down, unit = (
        next(iter(tags.numbers(tags.root.values.get(tag))), None)
        for tag in (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)
    )
    across, down = across or down, down or across
    if not across or not down or (unit is not None and unit not in (_INCH, _CENTIMETER)):
        return None
    factor = _CM_PER_INCH if unit == _CENTIMETER else Fraction(1)
    return float(across * factor), float(down * factor)


@dataclasses.dataclass(frozen=True)
class ExifChanges:
    """What is to be changed in EXIF for the file that it goes into."""

    size: tuple[int, int]
    """Width and height in pixels."""
    scale: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))
    """How much larger the picture is than it was, horizontally and vertically."""
    dpi: tuple[float, float] | None = None
    """Stated if EXIF does not state a resolution."""
    texts: tuple[tuple[int, str], ...] = ()
    """Texts by tag of the first folder, and the user comment, for tags that EXIF does not have."""


def changed_exif(exif: bytes | None, changes: ExifChanges) -> Tags | None:
    """EXIF for a picture of another size and with more notes; ``None`` if there are none.

    Raises:
        ValueError: if it is damaged.
    """
    tags = Tags() if exif is None else read_tags(exif.removeprefix(PREFIX))
    root = tags.root
    details = root.folders.get(EXIF_FOLDER, Folder())
    _resize(tags, details, changes)
    if changes.dpi is not None and X_RESOLUTION not in root.values and Y_RESOLUTION not in root.values:
        root.values[X_RESOLUTION], root.values[Y_RESOLUTION] = (tags.rational(number) for number in changes.dpi)
        root.values[RESOLUTION_UNIT] = tags.short(_INCH)
    for tag, text in changes.texts:
        values = details.values if tag == USER_COMMENT else root.values
        if _is_blank(values.get(tag)):
            values[tag] = _value_of(tags, tag, text)
    if details:
        root.folders[EXIF_FOLDER] = details
    return tags if root else None


def exif_in_order(exif: bytes, order: str) -> bytes:
    """The same EXIF in another byte order: ``<`` little or ``>`` big endian. Of maker notes nothing is known.

    Damaged EXIF is given back as it is.
    """
    try:
        tags = read_tags(exif.removeprefix(PREFIX))
    except ValueError:
        return exif
    return exif if tags.order == order else PREFIX + write_tags(Tags(order, _swapped(tags.root)))


def _swapped(folder: Folder) -> Folder:
    """With the bytes of all numbers in the other order."""
    values = {}
    for tag, value in folder.values.items():
        size = next((size for size, kinds in _NUMBER_BYTES.items() if value.kind in kinds), 1)
        parts = [value.data[start : start + size][::-1] for start in range(0, len(value.data), size)]
        values[tag] = dataclasses.replace(value, data=b"".join(parts))
    return Folder(values, {tag: _swapped(below) for tag, below in folder.folders.items()}, folder.num_damaged)


def _resize(tags: Tags, details: Folder, changes: ExifChanges) -> None:
    values = details.values
    if _PIXEL_WIDTH in values or _PIXEL_HEIGHT in values:
        for tag, side in zip((_PIXEL_WIDTH, _PIXEL_HEIGHT), changes.size, strict=True):
            if tags.numbers(values.get(tag)) != [side]:
                values[tag] = tags.long(side)
    for tag in (_SUBJECT_AREA, _SUBJECT_LOCATION):
        numbers = tags.numbers(values.get(tag))
        if numbers and any(scale != 1 for scale in changes.scale):
            scaled = [round(number * changes.scale[index % 2]) for index, number in enumerate(numbers)]
            packed = b"".join(struct.pack(tags.order + "H", min(number, 65535)) for number in scaled)
            values[tag] = Value(SHORT, packed)
    for tag, scale in zip((_FOCAL_PLANE_X, _FOCAL_PLANE_Y), changes.scale, strict=True):
        numbers = tags.numbers(values.get(tag))
        if numbers and scale != 1:
            values[tag] = tags.rational(numbers[0] * scale)


def states(tags: Tags, tag: int, text: str) -> bool:
    """Whether a tag of the first folder, or the user comment, is this text."""
    folder = tags.root.folders.get(EXIF_FOLDER, Folder()) if tag == USER_COMMENT else tags.root
    value = folder.values.get(tag)
    return value is not None and value.data.rstrip(b"\0 ") == _value_of(tags, tag, text).data.rstrip(b"\0 ")


def _is_blank(value: Value | None) -> bool:
    """Some cameras write texts of spaces."""
    return value is None or value.data.strip(b"\0 ") in (b"", b"ASCII", b"UNICODE")


def _value_of(tags: Tags, tag: int, text: str) -> Value:
    if tag != USER_COMMENT:
        return tags.text(text)
    if text.isascii():
        return Value(UNDEFINED, b"ASCII\0\0\0" + text.encode())
    encoding = "utf-16-le" if tags.order == "<" else "utf-16-be"
    return Value(UNDEFINED, b"UNICODE\0" + text.encode(encoding, "replace"))
