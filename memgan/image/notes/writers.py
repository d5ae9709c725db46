"""Makes the notes that a kind of file can hold out of those that a picture carries, and says what it cannot hold."""

import contextlib
import dataclasses
import struct
import zlib
from fractions import Fraction

import numpy as np

from memgan.image.containers import box, boxes, jpeg_segment, png_chunk
from memgan.image.notes import Notes, PngText
from memgan.image.notes.exif import (
    ARTIST,
    COPYRIGHT,
    DESCRIPTION,
    IPTC_TAG,
    MAKER_NOTE_MOVES,
    PREFIX,
    RESOLUTION_TAGS,
    SOFTWARE,
    USER_COMMENT,
    XMP_TAG,
    ExifChanges,
    changed_exif,
    states,
)
from memgan.image.notes.iptc import xmp_of_iptc
from memgan.image.notes.readers import (
    CM_PER_INCH,
    IPTC_OF_JPEG,
    IPTC_OF_PNG,
    IPTC_RESOURCE,
    METERS_PER_INCH,
    UUID_EXIF,
    UUID_IPTC,
    UUID_XMP,
    XMP_OF_JPEG,
    XMP_OF_PNG,
)
from memgan.image.notes.xmp import DUBLIN_CORE, Property, add_properties, add_provenance, has_property
from memgan.image.picture import Picture
from memgan.image.profiles import has_profile
from memgan.image.tiff_folders import (
    BYTE,
    EXIF_FOLDER,
    MAKER_NOTE,
    UNDEFINED,
    Folder,
    Tags,
    Value,
    read_tags,
    write_folder,
    write_tags,
)
from memgan.runtime.picture_formats import FileFormat
from memgan.version import __version__

_ICC_HEADER_BYTES = 128
_MAX_SEGMENT_BYTES = 65533
_MAX_KEYWORD_BYTES = 79
# Texts of PNG files by their registered keywords (and "parameters", which image generators write).
_EXIF_OF_TEXT = {
    "Description": DESCRIPTION,
    "Author": ARTIST,
    "Copyright": COPYRIGHT,
    "Software": SOFTWARE,
    "parameters": USER_COMMENT,
    "Comment": USER_COMMENT,
}
_COMMENT, _TITLE = "Comment", "Title"


@dataclasses.dataclass
class Outgoing:
    """The notes for one file, and what it cannot hold."""

    tags: Tags | None = None
    """EXIF."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[PngText, ...] = ()
    comments: tuple[bytes, ...] = ()
    colors: Notes = dataclasses.field(default_factory=Notes)
    """gAMA, cHRM, sRGB and cICP, if they are kept as such."""
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def exif(self) -> bytes | None:
        """As files hold it."""
        return None if self.tags is None else PREFIX + write_tags(self.tags)


def outgoing(picture: Picture, form: FileFormat, provenance: bool) -> Outgoing:
    """What is to be written into a file of a kind.

    Args:
        provenance: state that faces were restored, if any were.
    """
    notes, kinds = picture.notes, {name: fate.kind for name, fate in form.fates.items()}
    out = Outgoing(xmp=notes.xmp, iptc=notes.iptc)
    texts = _sort_texts(picture, form, out)
    properties: list[Property] = []
    if _TITLE in texts and kinds["XMP"] == "kept":
        title = Property(DUBLIN_CORE, "title", [texts.pop(_TITLE)], "Alt")
        properties.append(title)
        if has_property(notes.xmp, title):
            out.problems.append(f"{form.name} holds one text for {_TITLE}: that of XMP is kept, the other dropped")
    if notes.iptc is not None and kinds["IPTC"] != "kept":
        out.iptc = None
        if kinds["IPTC"] == "converted":
            properties += xmp_of_iptc(notes.iptc)
        else:
            out.problems.append(f"{form.name} holds no IPTC notes: they are dropped")
    if kinds["resolution"] == "kept":
        out.dpi = notes.dpi
    elif kinds["resolution"] == "dropped" and notes.dpi is not None:
        out.problems.append(f"{form.name} holds no resolution: it is dropped")
    _set_exif(picture, form, texts, out)
    _set_xmp(picture, form, properties, provenance, out)
    _set_colors(picture, form, out)
    if picture.alpha is not None and kinds["alpha"] == "dropped":
        out.problems.append(f"{form.name} holds no transparency: it is dropped")
    elif picture.alpha is not None and kinds["alpha"] != "kept" and _is_partial(picture.alpha):
        out.problems.append(f"{form.name} holds no partial transparency")
    if picture.peak > 255 and kinds["16 bit"] != "kept":
        out.problems.append(f"{form.name} holds 8 bits per channel: 16 are rounded")
    return out


def _sort_texts(picture: Picture, form: FileFormat, out: Outgoing) -> dict[str, str]:
    """Texts and comments that the format holds are put there; the others by their keywords, for EXIF and XMP."""
    notes = picture.notes
    texts, comments = form.fates["PNG text"], form.fates["comment"]
    if texts.kind == "kept":
        taken = {one.keyword for one in notes.text}
        further = () if _COMMENT in taken else [PngText(_COMMENT, _decoded(one)) for one in notes.comments]
        out.text = (*notes.text, *further)
        return {}
    if comments.kind == "kept":
        own = [one.text.encode("utf-8", "replace") for one in notes.text if one.keyword == _COMMENT]
        out.comments = (*notes.comments, *own)
        left = {one.keyword: one.text for one in notes.text if one.keyword != _COMMENT}
    else:
        left = {one.keyword: one.text for one in notes.text}
        if notes.comments:
            left.setdefault(_COMMENT, "\n".join(map(_decoded, notes.comments)))
    known = {*_EXIF_OF_TEXT, _TITLE} if form.fates["EXIF"].kind == "kept" else set()
    lost = [keyword for keyword in left if keyword not in known]
    if "parameters" in left and _COMMENT in left and _COMMENT in known:
        lost.append(_COMMENT)  # both would be EXIF's one user comment
    if lost:
        named = ", ".join(keyword[:40] for keyword in lost[:5]) + (", ..." if len(lost) > 5 else "")
        out.problems.append(f"{form.name} does not hold all texts of a PNG file; dropped: {named}")
    return {keyword: text for keyword, text in left.items() if keyword not in lost}


def _decoded(comment: bytes) -> str:
    try:
        return comment.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return comment.rstrip(b"\0").decode("latin-1")


def _set_exif(picture: Picture, form: FileFormat, texts: dict[str, str], out: Outgoing) -> None:
    if form.fates["EXIF"].kind != "kept":
        if picture.exif is not None:
            out.problems.append(f"{form.name} holds no EXIF: it is dropped")
        return
    height, width = picture.rgb.shape[:2]
    scale = Fraction(1), Fraction(1)
    if picture.origin is not None:
        scale = Fraction(width, picture.origin.width), Fraction(height, picture.origin.height)
    changes = ExifChanges(
        size=(width, height),
        scale=scale,
        dpi=picture.notes.dpi if form.fates["resolution"].kind == "converted" or form.name == "TIFF" else None,
        texts=tuple((_EXIF_OF_TEXT[keyword], text) for keyword, text in texts.items()),
    )
    try:
        out.tags = changed_exif(picture.exif, changes)
    except (ValueError, struct.error) as error:
        out.problems.append(f"the EXIF notes are damaged ({error}) and dropped")
        return
    tags = out.tags or Tags()
    for keyword, text in texts.items():
        if not states(tags, _EXIF_OF_TEXT[keyword], text):
            out.problems.append(f"{form.name} holds one text for {keyword}: that of EXIF is kept, the other dropped")
    if form.name == "JPEG" and out.tags is not None:
        _shorten_exif(out.tags, out)
    if form.name == "TIFF" and out.tags is not None and MAKER_NOTE in _details(out.tags).values:
        out.problems.append(MAKER_NOTE_MOVES)


def _shorten_exif(tags: Tags, out: Outgoing) -> None:
    """A JPEG file holds 64 KB; the maker note is the largest part."""
    details = _details(tags)
    if len(out.exif or b"") > _MAX_SEGMENT_BYTES and MAKER_NOTE in details.values:
        del details.values[MAKER_NOTE]
        out.problems.append("JPEG holds at most 64 KB of EXIF: the maker note of the camera is dropped")
    if len(out.exif or b"") > _MAX_SEGMENT_BYTES:
        out.tags = None
        out.problems.append("JPEG holds at most 64 KB of EXIF: it is dropped")


def _details(tags: Tags) -> Folder:
    return tags.root.folders.get(EXIF_FOLDER, Folder())


def _set_xmp(picture: Picture, form: FileFormat, properties: list[Property], provenance: bool, out: Outgoing) -> None:
    settings = picture.notes.restoration if provenance else None
    if form.fates["XMP"].kind != "kept":
        out.xmp = None
        if picture.notes.xmp is not None:
            out.problems.append(f"{form.name} holds no XMP: it is dropped")
        if settings is not None:
            out.problems.append(f"{form.name} holds no XMP: the file does not say that faces were restored")
        return
    try:
        out.xmp = _with_provenance(add_properties(out.xmp, properties), settings)
    except ValueError as error:
        out.problems.append(f"the XMP is damaged ({error}) and dropped")
        out.xmp = _with_provenance(None, settings)
    if form.name == "JPEG" and out.xmp is not None and len(XMP_OF_JPEG) + len(out.xmp) > _MAX_SEGMENT_BYTES:
        out.problems.append("JPEG holds at most 64 KB of XMP: what was in the input is dropped")
        out.xmp = _with_provenance(None, settings)


def _is_partial(alpha: np.ndarray) -> bool:
    return bool(((alpha > 0) & (alpha < np.iinfo(alpha.dtype).max)).any())


def _with_provenance(xmp: bytes | None, settings: str | None) -> bytes | None:
    return xmp if settings is None else add_provenance(xmp, "memgan", __version__, settings)


def _set_colors(picture: Picture, form: FileFormat, out: Outgoing) -> None:
    notes = picture.notes
    if form.fates["gAMA, cHRM"].kind == "kept":
        out.colors = dataclasses.replace(
            out.colors, gamma=notes.gamma, chromaticities=notes.chromaticities, srgb_intent=notes.srgb_intent
        )
    if notes.cicp is None:
        return
    if form.fates["cICP"].kind == "kept":
        out.colors = dataclasses.replace(out.colors, cicp=notes.cicp)
    elif picture.icc_profile is None and not has_profile(*notes.cicp[:2]):
        numbers = "/".join(map(str, notes.cicp[:2]))
        out.problems.append(f"{form.name} cannot say what its colors mean (cICP {numbers}): they will look different")


def png_chunks_of(out: Outgoing, icc_profile: bytes | None) -> list[bytes]:
    """Chunks that go behind the header of a PNG file."""
    colors, chunks = out.colors, []
    if colors.cicp is not None:
        primaries, transfer, *_ = colors.cicp
        chunks.append(png_chunk(b"cICP", bytes((primaries, transfer, 0, 1))))  # PNG knows RGB in full range only
    if icc_profile is not None:
        chunks.append(png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)))
    elif colors.srgb_intent is not None:
        chunks.append(png_chunk(b"sRGB", bytes([colors.srgb_intent])))
    if colors.gamma is not None:
        chunks.append(png_chunk(b"gAMA", _hundred_thousandths(colors.gamma)))
    if colors.chromaticities is not None:
        chunks.append(png_chunk(b"cHRM", _hundred_thousandths(*colors.chromaticities)))
    if out.dpi is not None:
        across, down = (min(round(one / METERS_PER_INCH), 2**31 - 1) for one in out.dpi)
        chunks.append(png_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if out.exif is not None:
        chunks.append(png_chunk(b"eXIf", out.exif.removeprefix(PREFIX)))
    if out.xmp is not None:
        chunks.append(png_chunk(b"iTXt", XMP_OF_PNG.encode() + bytes(5) + out.xmp))
    if out.iptc is not None:
        content = _resource(out.iptc)
        lines = "\n".join(content.hex()[at : at + 72] for at in range(0, 2 * len(content), 72))
        packed = zlib.compress(f"\niptc\n{len(content):8}\n{lines}\n".encode())
        chunks.append(png_chunk(b"zTXt", IPTC_OF_PNG.encode() + bytes(2) + packed))
    return chunks + [_text_chunk(one) for one in out.text]


def _hundred_thousandths(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}I", *(round(min(max(one, 0.0), 2e4) * 1e5) for one in numbers))


def _text_chunk(one: PngText) -> bytes:
    keyword = one.keyword.encode("latin-1", "replace")[:_MAX_KEYWORD_BYTES]
    if not one.language and not one.translated:
        with contextlib.suppress(UnicodeEncodeError):
            return png_chunk(b"tEXt", keyword + b"\0" + one.text.encode("latin-1"))
    language, translated, text = one.language.encode("latin-1", "replace"), one.translated, one.text
    strings = [language, translated.encode("utf-8", "replace"), text.encode("utf-8", "replace")]
    return png_chunk(b"iTXt", keyword + bytes(3) + b"\0".join(strings))


def _resource(iptc: bytes) -> bytes:
    """IPTC-IIM as one of Photoshop's image resources."""
    return b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def jpeg_segments_of(out: Outgoing) -> bytes:
    """Segments of a JPEG file that Pillow does not write by itself. What does not fit is said in ``out.problems``."""
    segments = b""
    if out.iptc is not None:
        content = IPTC_OF_JPEG + _resource(out.iptc)
        if len(content) > _MAX_SEGMENT_BYTES:
            out.problems.append("JPEG holds at most 64 KB of IPTC notes: they are dropped")
        else:
            segments += jpeg_segment(0xED, content)
    for comment in out.comments:
        if len(comment) > _MAX_SEGMENT_BYTES:
            out.problems.append("JPEG holds at most 64 KB of a comment: it is dropped")
        else:
            segments += jpeg_segment(0xFE, comment)
    return segments


def set_jpeg_density(data: bytes, dpi: tuple[float, float]) -> bytes:
    """A JPEG file with the resolution in its JFIF header, in whole numbers per inch or centimeter."""
    if data[6:11] != b"JFIF\0":
        return data
    in_cm = [one / CM_PER_INCH for one in dpi]
    fits_cm = all(abs(one - round(one)) < 0.01 for one in in_cm)
    fits_inch = all(abs(one - round(one)) < 0.01 for one in dpi)
    unit, values = (2, in_cm) if fits_cm and not fits_inch else (1, dpi)
    across, down = (min(max(round(one), 1), 65535) for one in values)
    return data[:13] + struct.pack(">BHH", unit, across, down) + data[18:]


def add_tiff_tags(data: bytes, out: Outgoing) -> bytes:
    """A TIFF file of one page with EXIF, XMP and IPTC among its tags. The folder is written anew at the end.

    Args:
        data: a file as tifffile writes it, not BigTIFF, in the byte order of ``out.tags``.
    """
    tags = read_tags(data)
    for tag in RESOLUTION_TAGS:  # tifffile states one by itself
        tags.root.values.pop(tag, None)
    if out.tags is not None:
        tags.root.values = {**out.tags.root.values, **tags.root.values}
        tags.root.folders = out.tags.root.folders
    if out.xmp is not None:
        tags.root.values[XMP_TAG] = Value(BYTE, out.xmp)
    if out.iptc is not None:
        tags.root.values[IPTC_TAG] = Value(UNDEFINED, out.iptc)
    start = len(data) + len(data) % 2
    pointer = struct.pack(tags.order + "I", start)
    return b"".join((data[:4], pointer, data[8:], bytes(len(data) % 2), write_folder(tags, start)))


def add_jpeg2000_boxes(data: bytes, out: Outgoing, icc_profile: bytes | None) -> bytes:
    """A JPEG 2000 file (JP2) with color profile, resolution, EXIF, XMP and IPTC in its boxes."""
    uuids = ((UUID_EXIF, out.exif and out.exif.removeprefix(PREFIX)), (UUID_XMP, out.xmp), (UUID_IPTC, out.iptc))
    notes = b"".join(box(b"uuid", name + content) for name, content in uuids if content is not None)
    if icc_profile is not None and len(icc_profile) < _ICC_HEADER_BYTES:  # readers would refuse the whole file
        icc_profile = None
        out.problems.append("the color profile is damaged and dropped: sRGB is assumed")
    result = b""
    for kind, start, end in boxes(data):
        content = data[start:end]
        if kind == b"jp2h":
            content = b"".join(
                box(name, b"\2\0\0" + icc_profile if name == b"colr" and icc_profile else data[at:to])
                for name, at, to in boxes(data, start, end)
            )
            if out.dpi is not None:
                content += _resolution_box(out.dpi)
        result += box(kind, content)
    return result + notes  # Pillow finds comments only if the pixels follow the header


def _resolution_box(dpi: tuple[float, float]) -> bytes:
    numbers, powers = [], []
    for one in (dpi[1], dpi[0]):
        hundredths, power = one * 100, 2  # dpi is pixels per meter x 254 / 10000
        while hundredths > 65535:
            hundredths, power = hundredths / 10, power + 1
        numbers += [round(hundredths), 254]
        powers.append(power)
    return box(b"res ", box(b"resd", struct.pack(">4H2b", *numbers, *powers)))
