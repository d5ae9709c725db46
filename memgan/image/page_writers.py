"""Writes several pictures into one file as they come, so that memory holds one of them."""

import dataclasses
import io
import struct
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import Image, TiffImagePlugin

from memgan.errors import OutputError
from memgan.image.containers import PNG_SIGNATURE, all_png_chunks, png_chunk
from memgan.image.encode import encode_picture
from memgan.image.formats import FORMATS
from memgan.image.picture import Picture, in_srgb, to_8bit

_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
_SHORT, _LONG = 3, 4
_PIXEL_OFFSETS = (273, 324)  # of strips and tiles
_FOLDERS = (330, 34665, 34853, 40965)  # sub-files, EXIF, GPS, interoperability
_MAX_TIFF_BYTES = 2**32 - 2**16
_NUM_GIF_COLORS = 255  # one more is for what is not seen


class PictureWriter(Protocol):
    """Writes one kind of file."""

    def add(self, picture: Picture, duration_ms: float) -> None:
        """Write the next picture; an OutputError if it does not suit those before."""

    def close(self) -> None:
        """Write what comes after the last picture."""


class TiffPages:
    """Pages of a TIFF: files of one page each, whose addresses are moved to where they lie in the whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._pointer = file, 0

    def add(self, picture: Picture, duration_ms: float) -> None:
        """Write the next page, of any size and depth."""
        page = bytearray(encode_picture(picture, ".tif"))
        endian = "<" if page[:2] == b"II" else ">"
        if not self._pointer:
            self._file.write(page[:4] + bytes(4))
            self._pointer, self._endian = 4, endian
        begin = self._file.seek(0, io.SEEK_END)
        begin += begin % 2  # addresses are even
        if begin + len(page) > _MAX_TIFF_BYTES or endian != self._endian:
            raise OutputError("TIFF cannot hold more than 4 GB; write its pages into several files")
        (first,) = struct.unpack_from(endian + "L", page, 4)
        last = _moved(page, first, begin, endian)
        self._file.seek(begin)
        self._file.write(page)
        self._file.seek(self._pointer)
        self._file.write(struct.pack(endian + "L", begin + first))
        self._pointer = begin + last

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

    def __init__(self, file: BinaryIO, num_loops: int) -> None:
        self._file, self._num_loops = file, num_loops
        self._header, self._count, self._sequence = b"", 0, 0

    def add(self, picture: Picture, duration_ms: float) -> None:
        """Write the next frame; all have an alpha channel, since only later ones may need it."""
        peak = picture.peak
        if self._header and (self._header[8] == 16) != (peak == 65535):
            raise OutputError("PNG cannot hold frames of 8 and 16 bit in one animation")
        alpha = np.full(picture.rgb.shape[:2], peak, picture.rgb.dtype) if picture.alpha is None else picture.alpha
        chunks = list(all_png_chunks(encode_picture(dataclasses.replace(picture, is_gray=False, alpha=alpha), ".png")))
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

    def __init__(self, file: BinaryIO, num_loops: int) -> None:
        self._file, self._num_loops = file, num_loops
        self._is_empty = True

    def add(self, picture: Picture, duration_ms: float) -> None:
        """Write the next frame."""
        buffer = io.BytesIO()
        indexed(picture).save(buffer, "GIF", optimize=False, interlace=0)
        data = buffer.getvalue()
        screen, flags = data[6:10], data[10]
        palette_end = 13 + 3 * 2 ** ((flags & 7) + 1)
        image = palette_end
        while data[image] == 0x21:  # extensions
            image += 2
            while data[image]:
                image += 1 + data[image]
            image += 1
        if self._is_empty:
            self._file.write(b"GIF89a" + screen + bytes([flags & 0x70, 0, 0]))
            if self._num_loops != 1:  # counts the repetitions, and 0 is for ever
                repeats = min(self._num_loops - 1, 65535) if self._num_loops else 0
                self._file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repeats) + b"\0")
            self._is_empty = False
        hundredths = min(round(duration_ms / 10), 65535)
        # Each frame is cleared before the next one: what is clear in that one shows nothing of it.
        control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 2 << 2 | 1, hundredths, _NUM_GIF_COLORS, 0)
        place = data[image : image + 9] + bytes([0x80 | flags & 7])
        self._file.write(control + place + data[13:palette_end] + data[image + 10 : -1])

    def close(self) -> None:
        """The end."""
        self._file.write(b";")


def indexed(picture: Picture) -> Image.Image:
    """A picture in 256 colors: exactly if it has no more, else by an octree with error diffusion.

    Of Pillow's methods this one is nearest, at a distance from which single pixels are not seen, for the time it takes.

    Number 255 is clear: what is less than half opaque.
    """
    picture = in_srgb(picture)
    rgb = to_8bit(picture.rgb)
    image = Image.fromarray(rgb)
    if image.getcolors(_NUM_GIF_COLORS) is None:
        palette = image.quantize(_NUM_GIF_COLORS, Image.Quantize.FASTOCTREE)
        numbers = np.array(image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG))
        colors = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    else:
        packed = rgb.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        values, numbers = np.unique(packed, return_inverse=True)
        colors = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.uint8)
    numbers = numbers.reshape(rgb.shape[:2]).astype(np.uint8)
    if picture.alpha is not None:
        numbers[to_8bit(picture.alpha) < 128] = _NUM_GIF_COLORS
    whole = np.zeros((256, 3), np.uint8)
    whole[: len(colors)] = colors
    result = Image.fromarray(numbers, "P")
    result.putpalette(whole.tobytes())
    return result


class SpooledFrames:
    """Frames of an animated WebP or AVIF: they wait in a temporary file, since Pillow takes all of them at once."""

    def __init__(self, path: Path, kind: str, suffix: str, num_loops: int, quality: int) -> None:
        self._path, self._kind, self._num_loops = path, kind, num_loops
        self._options: dict[str, Any] = {**FORMATS[suffix].options, "quality": quality}
        self._spool = tempfile.TemporaryFile(prefix="memgan-")  # noqa: SIM115
        self._pages = TiffPages(self._spool)
        self._durations: list[int] = []

    def add(self, picture: Picture, duration_ms: float) -> None:
        """Keep the next frame."""
        if not self._durations:
            notes = {"icc_profile": picture.icc_profile, "exif": picture.exif}
            self._options |= {name: value for name, value in notes.items() if value}
        # All have an alpha channel, since only later ones may need it.
        opaque = np.full(picture.rgb.shape[:2], 255, np.uint8)
        alpha = opaque if picture.alpha is None else to_8bit(picture.alpha)
        self._pages.add(Picture(to_8bit(picture.rgb), alpha=alpha), duration_ms)
        self._durations.append(round(duration_ms))

    def close(self) -> None:
        """Encode the frames."""
        try:
            self._spool.seek(0)
            with TiffImagePlugin.TiffImageFile(self._spool, "") as frames:
                frames.save(
                    self._path,
                    self._kind,
                    save_all=True,
                    duration=self._durations,
                    loop=self._num_loops,
                    **self._options,
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise OutputError(f"{self._kind} cannot hold this animation ({error}); use PNG") from error

    def discard(self) -> None:
        """Delete the temporary file."""
        self._spool.close()
