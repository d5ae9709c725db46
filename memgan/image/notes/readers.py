"""Reads what files and PIL pictures say besides their pixels."""

import dataclasses
import functools
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image

from memgan.image.containers import (
    boxes,
    inflate,
    item_properties,
    jpeg_segments,
    png_chunks,
    webp_chunks,
)
from memgan.image.notes import Carried, Notes, Origin, PngText
from memgan.image.notes.exif import CREDENTIALS_END, PREFIX, FirstFolder, read_first_folder
from memgan.image.notes.xmp import clean_xmp, orientation_of
from memgan.image.profiles import usable_profile

CM_PER_INCH, METERS_PER_INCH = 2.54, 0.0254
XMP_OF_JPEG, XMP_OF_PNG = b"http://ns.adobe.com/xap/1.0/\0", "XML:com.adobe.xmp"
IPTC_OF_JPEG, IPTC_OF_PNG = b"Photoshop 3.0\0", "Raw profile type iptc"
IPTC_RESOURCE = 0x0404
UUID_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
UUID_EXIF, UUID_IPTC = b"JpgTiffExif->JP2", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_UUID_CREDENTIALS = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_CODING_STYLE, _COMMENT_2000, _TILE = 0x52, 0x64, 0x90  # markers of JPEG 2000
_CODEC_NAMES = (b"Created by OpenJPEG", b"Kakadu-")
_MAX_HEADER_BYTES = 2**20
_MAX_TEXT_BYTES = 2**26
_LOSSY_TIFF = {6, 7, 33003, 33004, 33005, 34712, 34892, 50001, 50002}  # JPEG, JPEG 2000, lossy DNG, WebP, JPEG XL
# ITU-T T.81, table K.1, row by row: at quality 50.
_LUMINANCE = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61),
        *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56),
        *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77),
        *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101),
        *(72, 92, 95, 98, 112, 100, 103, 99),
    ]
)


@dataclasses.dataclass
class _Found:
    """What a container holds, not yet sorted."""

    exif: bytes | None = None
    first: FirstFolder | None = None
    """Instead of ``exif``, of a TIFF file."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: list[PngText] = dataclasses.field(default_factory=list)
    comments: list[bytes] = dataclasses.field(default_factory=list)
    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None
    srgb_intent: int | None = None
    cicp: tuple[int, int, int, int] | None = None
    icc_profile: bytes | None = None
    """If Pillow does not find it."""
    is_lossless: bool | None = None
    subsampling: str | None = None
    bit_depth: int = 8
    problems: list[str] = dataclasses.field(default_factory=list)


def read_notes(data: bytes | None, image: Image.Image) -> Carried:
    """What a file carries besides its pixels.

    Args:
        data: the bytes of the file; ``None`` for a PIL picture without one, of which less is known.
        image: Pillow's view of the same file, at the page that is meant, not yet turned.
    """
    found = _Found()
    kind = image.format or ""
    reader = _READERS.get("JPEG" if kind == "MPO" else kind)
    try:
        if data is not None and reader is not None:
            reader(data, image, found)
        else:
            _from_pillow(image, found)
    except (struct.error, IndexError, ValueError) as error:
        found.problems.append(f"a part of the notes in the file is damaged ({error}) and dropped")
    # HEIF files turn their pixels themselves. What their EXIF has said of that is replaced by pillow-heif.
    is_turned = (image.info.get("original_orientation") or 1) != 1
    first = found.first
    if first is None:
        first = FirstFolder() if found.exif is None else read_first_folder(found.exif, is_turned=is_turned)
    packet = found.xmp or first.xmp
    orientation = first.orientation
    if orientation == 1 and packet is not None:
        orientation = orientation_of(packet)
    xmp, xmp_problems = (None, ()) if packet is None else clean_xmp(packet, is_turned or orientation > 1)
    profile, profile_problem = usable_profile(found.icc_profile or image.info.get("icc_profile"), image.mode)
    notes = Notes(
        xmp=xmp,
        iptc=found.iptc or _iptc_of(found.photoshop or first.photoshop or b"") or first.iptc,
        dpi=_plausible(found.dpi) or _plausible(first.dpi),
        text=tuple(found.text),
        comments=tuple(found.comments),
        gamma=found.gamma,
        chromaticities=found.chromaticities,
        srgb_intent=found.srgb_intent,
        cicp=found.cicp,
    )
    problems = (*found.problems, *first.problems, *xmp_problems, *([profile_problem] if profile_problem else []))
    origin = None if data is None else _origin(kind, image, found)
    return Carried(notes, origin, first.exif, profile, orientation, tuple(dict.fromkeys(problems)))


def _plausible(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    return dpi if dpi is not None and all(0.01 <= one <= 1e6 for one in dpi) else None


def _origin(kind: str, image: Image.Image, found: _Found) -> Origin:
    tables = getattr(image, "quantization", None) or {}
    quantization = tuple(tuple(tables[key]) for key in sorted(tables))
    return Origin(
        format="JPEG" if kind == "MPO" else kind,
        width=image.width,
        height=image.height,
        is_lossless=found.is_lossless,
        quality=_quality_of(quantization[0]) if quantization else None,
        subsampling=found.subsampling,
        quantization=quantization,
        bit_depth=found.bit_depth,
    )


@functools.lru_cache(maxsize=64)
def _quality_of(table: tuple[int, ...]) -> int:
    """The quality at which libjpeg makes the table that is nearest."""
    qualities = np.arange(1, 101)
    scales = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    made = np.clip((_LUMINANCE[None] * scales[:, None] + 50) // 100, 1, 255)
    return int(qualities[np.abs(made - np.array(table, float)[None]).sum(axis=1).argmin()])


def _from_pillow(image: Image.Image, found: _Found) -> None:
    """Of pictures that only Pillow has read."""
    info = image.info
    found.exif = info.get("exif")
    if found.exif is None and getattr(image, "tag_v2", None) is not None:
        found.exif = image.getexif().tobytes()
    found.xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if isinstance(found.xmp, str):
        found.xmp = found.xmp.encode()
    dpi = info.get("dpi")
    if isinstance(dpi, tuple) and len(dpi) == 2 and all(float(one) > 0 for one in dpi):
        found.dpi = float(dpi[0]), float(dpi[1])
    comment = info.get("comment")
    if comment:
        found.comments.append(comment if isinstance(comment, bytes) else str(comment).encode())
    found.gamma, chromaticities = info.get("gamma"), info.get("chromaticity")
    found.chromaticities = None if chromaticities is None else tuple(chromaticities)
    found.srgb_intent = info.get("srgb")
    for keyword, text in getattr(image, "text", {}).items():
        if keyword != XMP_OF_PNG:
            found.text.append(
                PngText(keyword, str(text), getattr(text, "lang", None) or "", getattr(text, "tkey", None) or "")
            )


def _from_jpeg(data: bytes, image: Image.Image, found: _Found) -> None:
    found.is_lossless = False
    resources = b""
    for marker, content in jpeg_segments(data):
        if marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 12:
            unit, across, down = struct.unpack_from(">BHH", content, 7)
            if unit in (1, 2) and across and down:
                factor = 1.0 if unit == 1 else CM_PER_INCH
                found.dpi = across * factor, down * factor
        elif marker == 0xE1 and content.startswith(PREFIX):
            found.exif = found.exif or content
        elif marker == 0xE1 and content.startswith(XMP_OF_JPEG):
            found.xmp = found.xmp or content[len(XMP_OF_JPEG) :]
        elif marker == 0xE1 and content.startswith(_EXTENDED_XMP):
            found.problems.append("the second part of the XMP (extended XMP) is dropped")
        elif marker == 0xE2 and content.startswith(b"MPF\0"):
            found.problems.append("further pictures in the file (gain map, depth, other views) are dropped")
        elif marker == 0xEB and b"c2pa" in content:
            found.problems.append(CREDENTIALS_END)
        elif marker == 0xED and content.startswith(IPTC_OF_JPEG):
            resources += content[len(IPTC_OF_JPEG) :]
        elif marker == 0xFE:
            found.comments.append(content)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            found.bit_depth = content[0]
            found.subsampling = _subsampling_of(content)
    found.photoshop = resources or None


def _subsampling_of(frame: bytes) -> str | None:
    if frame[5] != 3:
        return None
    luma, *chroma = (divmod(frame[7 + 3 * index], 16) for index in range(3))
    if chroma[0] != chroma[1]:
        return None
    ratio = (luma[0] / chroma[0][0], luma[1] / chroma[0][1])
    names: dict[tuple[float, float], str] = {
        (1, 1): "4:4:4",
        (2, 1): "4:2:2",
        (2, 2): "4:2:0",
        (4, 1): "4:1:1",
        (1, 2): "4:4:0",
        (4, 2): "4:1:0",
    }
    return names.get(ratio)


def _iptc_of(resources: bytes) -> bytes | None:
    """IPTC-IIM among Photoshop's image resources."""
    position = 0
    while resources[position : position + 4] == b"8BIM" and position + 12 <= len(resources):
        kind, name_bytes = struct.unpack_from(">HB", resources, position + 4)
        position += 6 + (name_bytes + 2) // 2 * 2
        size = int.from_bytes(resources[position : position + 4], "big")
        if kind == IPTC_RESOURCE:
            return resources[position + 4 : position + 4 + size] or None
        position += 4 + size + size % 2
    return None


def _from_png(data: bytes, image: Image.Image, found: _Found) -> None:
    found.is_lossless = True
    for kind, content in png_chunks(data):
        if kind == b"IHDR":
            found.bit_depth = 16 if content[8] == 16 else 8
        elif kind == b"eXIf":
            found.exif = content
        elif kind == b"pHYs" and len(content) == 9:
            across, down, unit = struct.unpack(">IIB", content)
            if unit == 1 and across and down:
                found.dpi = across * METERS_PER_INCH, down * METERS_PER_INCH
        elif kind == b"gAMA" and len(content) == 4:
            found.gamma = int.from_bytes(content, "big") / 1e5
        elif kind == b"cHRM" and len(content) == 32:
            found.chromaticities = tuple(number / 1e5 for number in struct.unpack(">8I", content))
        elif kind == b"sRGB" and len(content) == 1:
            found.srgb_intent = content[0]
        elif kind == b"caBX":
            found.problems.append(CREDENTIALS_END)
        elif kind == b"cICP" and len(content) == 4:
            found.cicp = content[0], content[1], content[2], content[3]
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            try:
                _sort_text(_text_of(kind, content), found)
            except ValueError as error:
                found.problems.append(f"a text in the file is damaged ({error}) and dropped")


def _text_of(kind: bytes, content: bytes) -> PngText:
    keyword, separator, rest = content.partition(b"\0")
    if not separator:
        raise ValueError("it has no keyword")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return PngText(name, rest.decode("latin-1"))
    if kind == b"zTXt":
        return PngText(name, inflate(rest[1:], _MAX_TEXT_BYTES).decode("latin-1"))
    is_packed = rest[:1] == b"\1"
    language, _, rest = rest[2:].partition(b"\0")
    translated, _, text = rest.partition(b"\0")
    text = inflate(text, _MAX_TEXT_BYTES) if is_packed else text
    return PngText(name, text.decode(), language.decode("latin-1"), translated.decode())


def _sort_text(text: PngText, found: _Found) -> None:
    """Some programs write other notes as texts."""
    if text.keyword == XMP_OF_PNG:
        found.xmp = text.text.encode()
    elif text.keyword.startswith("Raw profile type "):
        content = bytes.fromhex("".join(text.text.split()[2:]))
        kind = text.keyword.rpartition(" ")[2].lower()
        if kind in ("exif", "app1") and content.startswith(PREFIX):
            found.exif = found.exif or content
        elif kind in ("xmp", "app1"):
            found.xmp = found.xmp or content.removeprefix(XMP_OF_JPEG)
        elif kind == "iptc":
            found.iptc = _iptc_of(content) or content
    else:
        found.text.append(text)


def _from_tiff(data: bytes, image: Image.Image, found: _Found) -> None:
    found.first = read_first_folder(data, page=image.tell())
    found.is_lossless = found.first.compression not in _LOSSY_TIFF
    found.bit_depth = found.first.bit_depth


def _from_webp(data: bytes, image: Image.Image, found: _Found) -> None:
    found.exif, found.xmp = image.info.get("exif"), image.info.get("xmp")
    kinds = {kind for kind, _ in webp_chunks(data)}
    if kinds & {b"VP8 ", b"VP8L"}:
        found.is_lossless = b"VP8 " not in kinds
    if b"C2PA" in kinds:
        found.problems.append(CREDENTIALS_END)


def _from_boxes(data: bytes, image: Image.Image, found: _Found) -> None:
    """Of AVIF and HEIF files."""
    found.exif, found.xmp = image.info.get("exif"), image.info.get("xmp")
    for kind, content in item_properties(data):
        if kind == b"colr" and content.startswith(b"nclx") and len(content) >= 11:
            primaries, transfer, matrix, full = struct.unpack_from(">HHHB", content, 4)
            if not image.info.get("icc_profile") and not (primaries in (1, 2) and transfer in (2, 13)):  # sRGB
                found.cicp = primaries & 255, transfer & 255, matrix & 255, full >> 7
            found.is_lossless = True if matrix == 0 else None  # no encoder stores RGB as it is but to lose nothing
        elif kind == b"pixi" and len(content) >= 6:
            found.bit_depth = max(found.bit_depth, content[5])
        elif kind == b"auxC" and b"gainmap" in content:
            found.problems.append("the gain map in the file belongs to the pixels as they were; it is dropped")
        elif kind == b"auxC" and (b"auxid:2" in content or b"depth" in content or b"disparity" in content):
            found.problems.append("the depth map in the file is dropped")
    if any(kind == b"uuid" and data[start : start + 16] == _UUID_CREDENTIALS for kind, start, _ in boxes(data)):
        found.problems.append(CREDENTIALS_END)
    if b"tmap" in data[:64]:
        found.problems.append("the gain map in the file belongs to the pixels as they were; it is dropped")
    if found.bit_depth > 8:
        found.problems.append(f"its {found.bit_depth} bits per channel are read as 8")


def _from_jpeg2000(data: bytes, image: Image.Image, found: _Found) -> None:
    for kind, start, end in boxes(data):
        if kind == b"uuid":
            content = data[start + 16 : end]
            name = data[start : start + 16]
            if name == UUID_XMP:
                found.xmp = content
            elif name == UUID_EXIF:
                found.exif = content
            elif name == UUID_IPTC:
                found.iptc = content
        elif kind == b"jp2h":
            _from_jpeg2000_header(data, start, end, found)
        elif kind == b"jp2c":
            _from_codestream(data[start : min(end, start + _MAX_HEADER_BYTES)], found)


def _from_codestream(data: bytes, found: _Found) -> None:
    """Of JPEG 2000; its segments look like those of JPEG."""
    for marker, content in jpeg_segments(data):
        if marker == _TILE:
            return
        if marker == _CODING_STYLE:
            found.is_lossless = content[9] == 1  # the wavelet that can be undone exactly
        elif marker == _COMMENT_2000 and content[:2] == b"\0\1" and not content[2:].startswith(_CODEC_NAMES):
            found.comments.append(content[2:])


def _from_jpeg2000_header(data: bytes, start: int, end: int, found: _Found) -> None:
    for kind, at, to in boxes(data, start, end):
        if kind == b"ihdr" and to - at >= 11:
            found.bit_depth = (data[at + 10] & 0x7F) + 1
        elif kind == b"colr" and data[at : at + 1] in (b"\2", b"\3"):
            found.icc_profile = data[at + 3 : to]
        elif kind == b"res ":
            for name, inner, inner_end in boxes(data, at, to):
                if name in (b"resc", b"resd") and inner_end - inner >= 10:
                    top_y, bottom_y, top_x, bottom_x, power_y, power_x = struct.unpack_from(">4H2b", data, inner)
                    if top_x and bottom_x and top_y and bottom_y:
                        found.dpi = (
                            top_x / bottom_x * 10.0**power_x * METERS_PER_INCH,
                            top_y / bottom_y * 10.0**power_y * METERS_PER_INCH,
                        )


def _from_gif(data: bytes, image: Image.Image, found: _Found) -> None:
    _from_pillow(image, found)
    found.is_lossless = True


def _from_bmp(data: bytes, image: Image.Image, found: _Found) -> None:
    _from_pillow(image, found)
    found.is_lossless = True


_READERS: dict[str, Callable[[bytes, Image.Image, _Found], None]] = {
    "JPEG": _from_jpeg,
    "PNG": _from_png,
    "TIFF": _from_tiff,
    "WEBP": _from_webp,
    "AVIF": _from_boxes,
    "HEIF": _from_boxes,
    "JPEG2000": _from_jpeg2000,
    "GIF": _from_gif,
    "BMP": _from_bmp,
}
