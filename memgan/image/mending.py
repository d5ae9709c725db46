"""Mends cut-off and slightly damaged JPEG and PNG files, and tells whether picture data are missing."""

import contextlib
import struct
import zlib
from typing import NamedTuple

import numpy as np

from memgan.image.containers import PNG_SIGNATURE, all_png_chunks, png_chunk
from memgan.image.formats import open_image
from memgan.image.picture import check_size

_END_CUT_OFF = "its end is cut off, but nothing of the picture is missing"
_JPEG_END = b"\xff\xd9"
_OTHER_PIXELS = b"\x5a\xa7\x13\xe6" * 64  # no byte of it begins a marker
_MAX_TEXT_BYTES = 2**20  # Pillow reads no longer ones
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row, and steps, of the seven passes of an interlaced PNG.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class Mended(NamedTuple):
    """A file whose pixels can be decoded."""

    data: bytes
    lack: str
    """What the file lacked, and is black or gray now, such as "the lower 20 % are"; empty: nothing of the picture."""
    problems: tuple[str, ...] = ()
    """What was wrong besides."""


def is_sound_png(data: bytes) -> bool:
    """Whether a PNG file has its end and right checksums; decoders other than Pillow's ask for that."""
    for kind, _, is_right in all_png_chunks(data):
        if kind == b"IEND" or not is_right:
            return is_right  # what comes after the end belongs to others
    return False


def mend(data: bytes, name: str) -> Mended | None:
    """The file made whole as far as it is there; ``None``: of this kind, or with this damage, nothing can be done.

    Raises:
        ImageError: if the size of the picture is outside the limits.
    """
    if data.startswith(PNG_SIGNATURE):
        return _mend_png(data, name)
    if data.startswith(b"\xff\xd8\xff"):
        return _mend_jpeg(data)
    return _mend_bmp(data) if data.startswith(b"BM") else None


def _mend_bmp(data: bytes) -> Mended | None:
    """With all rows of a file that is not compressed."""
    with open_image(data) as picture:
        decoder, _, offset, how = picture.tile[0]
        if decoder != "raw" or not isinstance(how, tuple):
            return None
        wanted = picture.height * int(how[1])
    lost = offset + wanted - len(data)
    if not 0 < lost < wanted:  # nothing is missing, or there is nothing
        return None
    # The rows mostly lie upside down.
    return Mended(data + bytes(lost), f"{max(1, round(100 * lost / wanted))} % of its rows are")


def _mend_jpeg(data: bytes) -> Mended:
    """With an end marker. Picture data are missing if other bytes in their place would change the picture."""
    data = data.removesuffix(b"\xff")  # half a marker
    whole = data + _JPEG_END
    with open_image(whole) as picture, open_image(data + _OTHER_PIXELS + _JPEG_END) as other:
        for top in range(0, picture.height, 16):
            strip = (0, top, picture.width, min(top + 16, picture.height))
            differs = np.asarray(picture.crop(strip)) != np.asarray(other.crop(strip))
            if differs.any():
                first = top + int(differs.reshape(len(differs), -1).any(axis=1).argmax())
                return Mended(whole, _lower(1 - first / picture.height))
    # A progressive file that ends between two scans has all pixels, but only roughly.
    if not _has_all_scans(data):
        return Mended(whole, "its fine details are")
    return Mended(whole, "", (_END_CUT_OFF,))


def _lower(share: float) -> str:
    return f"the lower {max(1, round(100 * share))} % are"


def _has_all_scans(data: bytes) -> bool:
    """Whether the scans of a JPEG file hold every coefficient to its last bit, as those of complete files do."""
    position, components, seen = 2, 0, dict[int, set[int]]()
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker = data[position + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD7:  # within a scan, or filling
            position += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = data[position + 4 : position + 2 + length]
        if marker in (0xC0, 0xC1, 0xC2) and len(body) > 5:
            components = body[5]
        if marker == 0xDA and body and len(body) >= 2 * body[0] + 4:
            first, last, bits = body[2 * body[0] + 1 : 2 * body[0] + 4]
            for index in range(body[0]):
                if bits & 15 == 0:
                    seen.setdefault(body[1 + 2 * index], set()).update(range(first, last + 1))
        position += 2 + length
    return len(seen) >= components and all(len(found) == 64 for found in seen.values())


def _mend_png(data: bytes, name: str) -> Mended | None:
    """With right checksums, without texts that are too long, and with all rows."""
    kept, header, pixels, problems = list[bytes](), b"", bytearray(), list[str]()
    unpacker, wanted, has_end = zlib.decompressobj(), 0, False
    for kind, body, is_right in all_png_chunks(data):
        if kind == b"IHDR":
            if not is_right or len(body) != 13 or body[9] not in _PNG_CHANNELS:
                return None
            header, wanted = body, _png_bytes(body, name)
        elif kind == b"IDAT" and len(pixels) <= wanted:
            try:
                pixels += unpacker.decompress(unpacker.unconsumed_tail + body, wanted + 1 - len(pixels))
            except zlib.error:
                break
            continue
        elif kind == b"IEND":
            has_end = is_right
            break
        elif kind in (b"acTL", b"fcTL", b"fdAT"):
            problems.append("its further frames were left out")
            continue
        elif kind in (b"zTXt", b"iTXt", b"tEXt") and _is_too_long(body):
            continue  # of no use for the pixels
        elif not is_right and kind[0] & 32:
            problems.append(f"the checksum of its chunk {kind.decode('latin-1')!r} is wrong")
            continue
        elif not is_right:  # without it the pixels cannot be understood
            return None
        kept.append(png_chunk(kind, body))
    if not header:
        return None
    missing = max(0.0, 1 - len(pixels) / wanted)
    if not missing and not unpacker.eof:
        problems.append("the checksum of its pixels is wrong or missing")
    elif not missing and not has_end:
        problems.append(_END_CUT_OFF)
    pixels = pixels[:wanted].ljust(wanted, b"\0")
    parts = [PNG_SIGNATURE, *kept, png_chunk(b"IDAT", zlib.compress(pixels, 1)), png_chunk(b"IEND", b"")]
    lack = _lower(missing) if missing else ""
    return Mended(b"".join(parts), lack, tuple(dict.fromkeys(problems)))


def _is_too_long(body: bytes) -> bool:
    """Whether a text chunk has more bytes, unpacked, than Pillow reads."""
    rest = body.partition(b"\0")[2]
    # A text that is not compressed has another byte here, and then the whole chunk is its length at most.
    for skipped in (1, 2):
        packed = rest[skipped:] if skipped == 1 else rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        with contextlib.suppress(zlib.error):
            if len(zlib.decompressobj().decompress(packed, _MAX_TEXT_BYTES + 1)) > _MAX_TEXT_BYTES:
                return True
    return len(body) > _MAX_TEXT_BYTES


def _png_bytes(header: bytes, name: str) -> int:
    """How many bytes the rows of a PNG have, each with the byte of its filter."""
    width, height, bits, color, _, _, is_interlaced = struct.unpack(">LLBBBBB", header)
    check_size(width, height, name)
    depth = bits * _PNG_CHANNELS[color]
    passes = _ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    sides = ((-(-(width - x) // step_x), -(-(height - y) // step_y)) for x, y, step_x, step_y in passes)
    return sum(rows * (1 + -(-columns * depth // 8)) for columns, rows in sides if columns > 0 and rows > 0)
