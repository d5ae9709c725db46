"""Takes picture files apart into segments, chunks and boxes, without decoding pixels; puts chunks and boxes into them.

JPEG: ITU-T T.81, annex B. PNG: third edition, section 5. WebP: its container specification. Boxes: ISO/IEC 14496-12 and
15444-1.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

from memgan.errors import ImageError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 33  # signature and IHDR
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without content
_BOX_HEADER_BYTES = 8


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker (its second byte) and content of each segment of a JPEG file before its pixels, up to a damage."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _ALONE:
            position += 2
        elif marker in (_SOI, _EOI, _SOS):
            return
        else:
            size = int.from_bytes(data[position + 2 : position + 4], "big")
            yield marker, data[position + 4 : position + 2 + size]
            position += 2 + max(size, 2)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk of a PNG file but its pixels. Ends where it is damaged; checksums are ignored."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if position + 12 + size > len(data):
            return
        if kind != b"IDAT":
            yield kind, data[position + 8 : position + 8 + size]
        position += 12 + size


def all_png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind and content of each chunk of a PNG file, and whether its checksum is right; the last one may be cut off."""
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">L4s", data, position)
        content = data[position + 8 : position + 8 + size]
        checksum = data[position + 8 + size : position + 12 + size]
        yield kind, content, checksum == struct.pack(">L", zlib.crc32(kind + content))
        position += 12 + size


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk of a WebP file; the last one may be cut off."""
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2


def webp_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its length."""
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and begin and end of the content, of each box of an interval of a file. Ends where it is damaged."""
    end = len(data) if end is None else end
    while start + _BOX_HEADER_BYTES <= end:
        size, header = int.from_bytes(data[start : start + 4], "big"), _BOX_HEADER_BYTES
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        size = size or end - start
        if size < header or start + size > end:
            return
        yield data[start + 4 : start + 8], start + header, start + size
        start += size


def item_properties(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each property (``colr``, ``pixi``, ...) of the items of an AVIF or HEIF file."""
    for kind, start, end in boxes(data):
        if kind == b"meta":
            for inner, inner_start, inner_end in boxes(data, start + 4, end):
                if inner == b"iprp":
                    for _, ipco_start, ipco_end in boxes(data, inner_start, inner_end):
                        for name, at, to in boxes(data, ipco_start, ipco_end):
                            yield name, data[at:to]
                        break  # what follows tells which item has which


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def add_png_chunks(png: bytes, chunks: Iterable[bytes]) -> bytes:
    """A PNG file with chunks behind its header."""
    return png[:_PNG_HEADER_BYTES] + b"".join(chunks) + png[_PNG_HEADER_BYTES:]


def jpeg_segment(marker: int, content: bytes) -> bytes:
    """A segment with marker and length; at most 65,533 bytes of content."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def box(kind: bytes, content: bytes) -> bytes:
    """A box with its length."""
    return struct.pack(">I", len(content) + _BOX_HEADER_BYTES) + kind + content


def inflate(data: bytes, limit: int) -> bytes:
    """Unpack zlib data.

    Raises:
        ImageError: if it is damaged or gives more than ``limit`` bytes.
    """
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise ImageError(str(error)) from error
    if unpacker.unconsumed_tail:
        raise ImageError(f"it unpacks to more than {limit} bytes")
    return content
