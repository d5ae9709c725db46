"""Writes several pictures into one file as they come, so that memory holds one of them."""

import dataclasses
import io
import struct
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import TiffImagePlugin

from memgan.errors import OutputError
from memgan.image.containers import PNG_SIGNATURE, all_png_chunks, png_chunk, webp_chunk, webp_chunks
from memgan.image.encode import DEFAULT_QUALITY, encode
from memgan.image.formats import FORMATS
from memgan.image.notes.exif import exif_in_order
from memgan.image.notes.writers import outgoing
from memgan.image.palette import NUM_COLORS, TOO_MANY_COLORS, indexed
from memgan.image.picture import Picture, in_srgb, to_8bit

_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
_SHORT, _LONG = 3, 4
_PIXEL_OFFSETS = (273, 324)  # of strips and tiles
_FOLDERS = (330, 34665, 34853, 40965)  # sub-files, EXIF, GPS, interoperability
_MAX_TIFF_BYTES = 2**32 - 2**16
_WEBP_ANIMATION, _WEBP_ALPHA = 0x02, 0x10
_WEBP_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}


class PictureWriter(Protocol):
    """Writes one kind of file."""

    def add(self, picture: Picture, duration_ms: float) -> tuple[str, ...]:
        """Write the next picture, and say what of it was lost; an OutputError if it does not suit those before."""

    def close(self) -> None:
        """Write what comes after the last picture."""


class TiffPages:
    """Pages of a TIFF: files of one page each, whose addresses are moved to where they lie in the whole."""

    def __init__(self, file: BinaryIO, provenance: bool) -> None:
        self._file, self._provenance = file, provenance
        self._pointer, self._endian = 0, ""

    def add(self, picture: Picture, duration_ms: float) -> tuple[str, ...]:
        """Write the next page, of any size and depth."""
        if self._pointer and picture.exif is not None:  # its byte order becomes that of the page
            picture = dataclasses.replace(picture, exif=exif_in_order(picture.exif, self._endian))
        encoded = encode(picture, ".tif", provenance=self._provenance)
        page = bytearray(encoded.data)
        endian = "<" if page[:2] == b"II" else ">"
        if not self._pointer:
            self._file.write(page[:4] + bytes(4))
            self._pointer, self._endian = 4, endian
        begin = self._file.seek(0, io.SEEK_END)
        begin += begin % 2  # addresses are even
        if endian != self._endian:
            raise OutputError("TIFF cannot hold this page: its EXIF notes have another byte order and are damaged")
        if begin + len(page) > _MAX_TIFF_BYTES:
            raise OutputError("TIFF cannot hold more than 4 GB; write its pages into several files")
        (first,) = struct.unpack_from(endian + "L", page, 4)
        last = _moved(page, first, begin, endian)
        self._file.seek(begin)
        self._file.write(page)
        self._file.seek(self._pointer)
        self._file.write(struct.pack(endian + "L", begin + first))
        self._pointer = begin + last
        return encoded.problems

    def close(self) -> None:
        """Nothing comes after the last page."""


def _moved(page: bytearray, folder: int, begin: int, endian: str) -> int:
    """Add ``begin`` to the addresses in a folder of tags and those it points to; returns where it names the next."""
    num_entries: int = struct.unpack_from(endian + "H", page, folder)[0]
    for entry in range(folder + 2, folder + 2 + 12 * num_entries, 12):
        tag, kind, count = struct.unpack_from(endian + "HHL", page, entry)
        value, size = entry + 8, _TYPE_BYTES[kind] * count if kind < len(_TYPE_BYTES) else 0
        if size > 4:
            (value,) = struct.unpack_from(endian + "L", page, value)
            struct.pack_into(endian + "L", page, entry + 8, value + begin)
        if tag in _PIXEL_OFFSETS or tag in _FOLDERS:
            if kind == _SHORT and count == 1:  # too small for other pages' addresses
                (address,) = struct.unpack_from(endian + "H", page, value)
                struct.pack_into(endian + "HHLL", page, entry, tag, _LONG, 1, address)
            elif kind == _SHORT:
                raise OutputError("TIFF cannot hold this page: the addresses of its pixels are too small")
            addresses = struct.unpack_from(f"{endian}{count}L", page, value)
            struct.pack_into(f"{endian}{count}L", page, value, *(address + begin for address in addresses))
            if tag in _FOLDERS:
                for address in addresses:
                    _moved(page, address, begin, endian)
    return folder + 2 + 12 * num_entries


class ApngFrames:
    """Frames of an animated PNG: the chunks of one file each, renamed and numbered."""

    def __init__(self, file: BinaryIO, num_loops: int, provenance: bool) -> None:
        self._file, self._num_loops, self._provenance = file, num_loops, provenance
        self._header, self._count, self._sequence = b"", 0, 0

    def add(self, picture: Picture, duration_ms: float) -> tuple[str, ...]:
        """Write the next frame; all have an alpha channel, since only later ones may need it."""
        peak = picture.peak
        if self._header and (self._header[8] == 16) != (peak == 65535):
            raise OutputError("PNG cannot hold frames of 8 and 16 bit in one animation")
        alpha = np.full(picture.rgb.shape[:2], peak, picture.rgb.dtype) if picture.alpha is None else picture.alpha
        # A profile of gray does not suit the channels that all frames have.
        picture = dataclasses.replace(in_srgb(picture) if picture.is_gray else picture, is_gray=False, alpha=alpha)
        encoded = encode(picture, ".png", provenance=self._provenance)
        chunks = list(all_png_chunks(encoded.data))
        header = chunks[0][1]
        if not self._header:
            self._header = header
            self._file.write(PNG_SIGNATURE + png_chunk(b"IHDR", header) + self._animation_chunk())
            for kind, body, _ in chunks[1:]:
                if kind not in (b"IDAT", b"IEND"):
                    self._file.write(png_chunk(kind, body))
        # Delays are fractions of two numbers below 2**16.
        numerator, denominator = next(
            (round(duration_ms * unit / 1000), unit) for unit in (1000, 100, 10, 1) if duration_ms * unit < 65.5e6
        )
        control = header[:8] + struct.pack(">LLHHBB", 0, 0, numerator, denominator, 0, 0)
        self._numbered(b"fcTL", control)
        for kind, body, _ in chunks:
            if kind == b"IDAT" and self._count == 0:
                self._file.write(png_chunk(kind, body))
            elif kind == b"IDAT":
                self._numbered(b"fdAT", body)
        self._count += 1
        return encoded.problems

    def close(self) -> None:
        """The end, and how many frames there are."""
        self._file.write(png_chunk(b"IEND", b""))
        self._file.seek(len(PNG_SIGNATURE) + 25)
        self._file.write(self._animation_chunk())

    def _animation_chunk(self) -> bytes:
        return png_chunk(b"acTL", struct.pack(">LL", self._count, self._num_loops))

    def _numbered(self, kind: bytes, body: bytes) -> None:
        self._file.write(png_chunk(kind, struct.pack(">L", self._sequence) + body))
        self._sequence += 1


class GifFrames:
    """Frames of an animated GIF, each with its own palette; colors become sRGB, and transparency is all or nothing."""

    def __init__(self, file: BinaryIO, num_loops: int, provenance: bool) -> None:
        self._file, self._num_loops, self._provenance = file, num_loops, provenance
        self._is_empty = True

    def add(self, picture: Picture, duration_ms: float) -> tuple[str, ...]:
        """Write the next frame."""
        buffer = io.BytesIO()
        image, is_exact = indexed(picture)
        image.save(buffer, "GIF", optimize=False, interlace=0)
        data = buffer.getvalue()
        screen, flags = data[6:10], data[10]
        palette_end = 13 + 3 * 2 ** ((flags & 7) + 1)
        place = palette_end
        while data[place] == 0x21:  # extensions
            place += 2
            while data[place]:
                place += 1 + data[place]
            place += 1
        if self._is_empty:
            self._file.write(b"GIF89a" + screen + bytes([flags & 0x70, 0, 0]))
            if self._num_loops != 1:  # counts the repetitions, and 0 is for ever
                repeats = min(self._num_loops - 1, 65535) if self._num_loops else 0
                self._file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repeats) + b"\0")
            self._is_empty = False
        hundredths = min(round(duration_ms / 10), 65535)
        # Each frame is cleared before the next one: what is clear in that one shows nothing of it.
        control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 2 << 2 | 1, hundredths, NUM_COLORS, 0)
        head = data[place : place + 9] + bytes([0x80 | flags & 7])
        self._file.write(control + head + data[13:palette_end] + data[place + 10 : -1])
        problems = outgoing(picture, FORMATS[".gif"], self._provenance).problems
        return tuple(problems if is_exact else [*problems, TOO_MANY_COLORS])

    def close(self) -> None:
        """The end."""
        self._file.write(b";")


class WebpFrames:
    """Frames of an animated WebP: the pixels of one file each. Pillow's own way loses the transparency."""

    def __init__(self, file: BinaryIO, num_loops: int, quality: int | None, provenance: bool) -> None:
        self._file, self._num_loops = file, num_loops
        self._quality, self._provenance = quality, provenance
        self._flags, self._sides = _WEBP_ANIMATION, b""
        self._last: list[bytes] = []

    def add(self, picture: Picture, duration_ms: float) -> tuple[str, ...]:
        """Write the next frame."""
        encoded = encode(picture, ".webp", self._quality, self._provenance)
        chunks = list(webp_chunks(encoded.data))
        if not self._sides:
            height, width = picture.rgb.shape[:2]
            self._sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
            self._file.write(b"RIFF" + bytes(4) + b"WEBP" + self._extended())
            for kind, body in chunks:
                if kind == b"ICCP":
                    self._file.write(webp_chunk(kind, body))
                elif kind in (b"EXIF", b"XMP "):
                    self._last.append(webp_chunk(kind, body))
                self._flags |= _WEBP_FLAGS.get(kind, 0)
            self._file.write(webp_chunk(b"ANIM", struct.pack("<LH", 0, self._num_loops)))
        if picture.alpha is not None:
            self._flags |= _WEBP_ALPHA
        duration = min(round(duration_ms), 2**24 - 1).to_bytes(3, "little")
        pixels = b"".join(webp_chunk(kind, body) for kind, body in chunks if kind in (b"ALPH", b"VP8 ", b"VP8L"))
        # Each frame replaces the one before, also where it is clear.
        self._file.write(webp_chunk(b"ANMF", bytes(6) + self._sides + duration + b"\2" + pixels))
        return encoded.problems

    def close(self) -> None:
        """The notes, and how long the file is."""
        self._file.write(b"".join(self._last))
        size = self._file.tell() - 8
        if size >= 2**32:
            raise OutputError("WebP cannot hold more than 4 GB; use TIFF")
        self._file.seek(4)
        self._file.write(struct.pack("<L", size) + b"WEBP" + self._extended())

    def _extended(self) -> bytes:
        return webp_chunk(b"VP8X", bytes([self._flags, 0, 0, 0]) + self._sides)


class AvifFrames:
    """Frames of an animated AVIF: they wait in a temporary file, since Pillow takes all of them at once."""

    def __init__(self, path: Path, quality: int | None, provenance: bool) -> None:
        self._path, self._provenance = path, provenance
        self._options: dict[str, Any] = {
            **FORMATS[".avif"].options,
            "quality": DEFAULT_QUALITY if quality is None else quality,
        }
        self._spool = tempfile.TemporaryFile(prefix="memgan-")  # noqa: SIM115
        self._pages = TiffPages(self._spool, False)
        self._durations: list[int] = []

    def add(self, picture: Picture, duration_ms: float) -> tuple[str, ...]:
        """Keep the next frame."""
        out = outgoing(picture, FORMATS[".avif"], self._provenance)
        if not self._durations:
            profile = None if picture.is_gray else picture.profile  # its frames have three channels
            notes = {"icc_profile": profile, "exif": out.exif, "xmp": out.xmp}
            self._options |= {name: value for name, value in notes.items() if value}
        picture = in_srgb(picture) if picture.is_gray else picture
        # All have an alpha channel, since only later ones may need it.
        opaque = np.full(picture.rgb.shape[:2], 255, np.uint8)
        alpha = opaque if picture.alpha is None else to_8bit(picture.alpha)
        self._pages.add(Picture(to_8bit(picture.rgb), alpha=alpha), duration_ms)
        self._durations.append(round(duration_ms))
        return tuple(out.problems)

    def close(self) -> None:
        """Encode the frames."""
        try:
            self._spool.seek(0)
            with TiffImagePlugin.TiffImageFile(self._spool, "") as frames:
                frames.save(self._path, "AVIF", save_all=True, duration=self._durations, **self._options)
        except (OSError, ValueError, RuntimeError) as error:
            raise OutputError(f"AVIF cannot hold this animation ({error}); use PNG") from error

    def discard(self) -> None:
        """Delete the temporary file."""
        self._spool.close()
