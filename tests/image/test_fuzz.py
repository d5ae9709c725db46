"""Odd files of every kind, damaged where their structure is: only the library's own errors come out."""

import functools
import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from fakes import scene
from fuzzing import fuzz
from PIL import Image, features

from memgan.errors import MemGANError
from memgan.image import IMAGE_SUFFIXES, PagesWriter, Picture, Timing, check_size, decoding, encode, mending
from memgan.image.decoding import PictureFile

RGB = scene(20, 24)
MAX_PIXELS = 2**18  # keeps every input short; sizes above are refused as those above the real limit are
NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    31,
    32,
    127,
    128,
    255,
    256,
    257,
    32767,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
TIFF_TAGS = (
    *(
        254,
        256,
        257,
        258,
        259,
        262,
        266,
        269,
        273,
        274,
        277,
        278,
        279,
        282,
        284,
        292,
        293,
        296,
        301,
        305,
        317,
        318,
        319,
    ),
    *(320, 322, 323, 324, 325, 330, 332, 334, 338, 339, 340, 341, 347, 529, 530, 531, 532, 700, 33432, 33723, 34377),
    *(34665, 34675, 34853, 37500, 40961, 40965, 50706, 50838, 65000),
)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animation(suffix: str, folder: str) -> bytes:
    path = f"{folder}/a{suffix}"
    alpha = np.full(RGB.shape[:2], 255, np.uint8)
    alpha[:5] = 0
    with PagesWriter(path, Timing((40.0, 20.0, 30.0), 2)) as writer:
        for seed in range(3):
            writer.add(Picture(scene(20, 24, seed), alpha=alpha if seed else None))
    with open(path, "rb") as file:
        return file.read()


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, list[bytes]]:
    """Small files of every kind, with much of what can be in them."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    exif[0x8769], exif[0x8825] = {0x9003: "1987:05:03 12:00:00", 0xA002: 20}, {1: "N", 2: (51.0, 46.0, 29.0)}
    color, notes = Image.fromarray(RGB), exif.tobytes()
    folder = str(tmp_path_factory.mktemp("samples"))
    deep = Picture(RGB.astype(np.uint16) * 257)
    found = {
        "JPEG": [
            saved(color, "JPEG", exif=notes, comment=b"hello", dpi=(300, 300)),
            saved(color.convert("CMYK"), "JPEG"),
            saved(color, "JPEG", progressive=True, quality=80),
        ],
        "PNG": [
            saved(color, "PNG", exif=notes, dpi=(300, 300)),
            *(saved(color.convert(mode), "PNG") for mode in ("RGBA", "L", "LA", "P", "1")),
            encode(deep, ".png").data,
            animation(".png", folder),
        ],
        "TIFF": [
            *(saved(color.convert(mode), "TIFF", exif=notes) for mode in ("RGB", "L", "CMYK", "P", "LAB")),
            # Uncompressed, Pillow before version 12 does not read its own YCbCr.
            saved(color.convert("YCbCr"), "TIFF", compression="tiff_lzw"),
            *(
                saved(color, "TIFF", compression=name)
                for name in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg")
            ),
            encode(deep, ".tif").data,
            saved(Image.fromarray(RGB[:, :, 0].astype(np.float32) / 255), "TIFF", compression="tiff_lzw"),
            animation(".tif", folder),
        ],
        "WEBP": [saved(color, "WEBP", exif=notes), saved(color, "WEBP", lossless=True), animation(".webp", folder)],
        "GIF": [saved(color, "GIF"), animation(".gif", folder)],
        "BMP": [saved(color, "BMP"), saved(color.convert("P"), "BMP")],
        "JPEG2000": [saved(color, "JPEG2000")],
        "PPM": [saved(color, "PPM"), b"P5 20 20 65535\n" + RGB.tobytes()[:800]],
    }
    if features.check("avif"):
        found["AVIF"] = [saved(color, "AVIF", exif=notes), animation(".avif", folder)]
    return found


# -- damage -----------------------------------------------------------------------------------------------------------


def bytes_of(draw: random.Random, most: int = 24) -> bytes:
    return draw.randbytes(draw.randint(0, most))


def noise(draw: random.Random, data: bytes) -> bytes:
    """Some bytes changed, put in or cut off."""
    damaged = bytearray(data)
    for _ in range(draw.choice((0, 1, 1, 2, 6)) if damaged else 0):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
    if draw.random() < 0.2:
        at = draw.randint(0, len(damaged))
        damaged[at:at] = bytes_of(draw)
    if draw.random() < 0.25:
        del damaged[draw.randint(0, len(damaged)) :]
    return bytes(damaged)


def tiff_tags(draw: random.Random, data: bytes) -> bytes:
    """Entries of its folders with other tags, types, counts and values."""
    damaged = bytearray(data)
    endian = "<" if data[:2] == b"II" else ">"
    (folder,) = struct.unpack_from(endian + "L", data, 4)
    if folder + 2 > len(data):
        return data
    (count,) = struct.unpack_from(endian + "H", data, folder)
    for _ in range(draw.randint(1, 4)):
        entry = folder + 2 + 12 * draw.randrange(max(count, 1))
        if entry + 12 > len(data):
            return bytes(damaged)
        tag, kind, number, value = struct.unpack_from(endian + "HHLL", damaged, entry)
        what = draw.randrange(4)
        tag = draw.choice(TIFF_TAGS) if what == 0 else tag
        kind = draw.randint(0, 18) if what == 1 else kind
        number = draw.choice((*NUMBERS, number * 2, number + 1)) & 0xFFFFFFFF if what == 2 else number
        if what == 3 or draw.random() < 0.3:
            value = draw.choice((*NUMBERS, len(data), folder, value + 1)) & 0xFFFFFFFF
            value = value if endian == "<" or kind != 3 else (value & 0xFFFF) << 16
        struct.pack_into(endian + "HHLL", damaged, entry, tag, kind, number, value)
    return bytes(damaged)


def png_chunks(draw: random.Random, data: bytes) -> bytes:
    """Chunks left out, doubled, exchanged, changed or invented; mostly with right checksums."""
    chunks, position = [], 8
    while position + 12 <= len(data):
        (size,) = struct.unpack_from(">L", data, position)
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + size]))
        position += 12 + size
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(chunks))
        kind, body = chunks[at]
        what = draw.randrange(5)
        if what == 0 and len(chunks) > 1:
            del chunks[at]
        elif what == 1:
            chunks.insert(draw.randrange(len(chunks)), (kind, body))
        elif what == 2:
            chunks[at] = kind, noise(draw, body)
        elif what == 3:
            name = draw.choice(
                (
                    b"tRNS",
                    b"iCCP",
                    b"zTXt",
                    b"iTXt",
                    b"tEXt",
                    b"eXIf",
                    b"acTL",
                    b"fcTL",
                    b"fdAT",
                    b"PLTE",
                    b"gAMA",
                    b"cHRM",
                    b"pHYs",
                    b"cICP",
                )
            )
            packed = b"a\0\0" + zlib.compress(bytes_of(draw))
            chunks.insert(
                at,
                (
                    name,
                    draw.choice(
                        (bytes_of(draw, 40), packed, struct.pack(">LL", draw.choice(NUMBERS), draw.choice(NUMBERS)))
                    ),
                ),
            )
        elif len(body) >= 4:
            where = draw.randrange(0, len(body) - 3)
            chunks[at] = kind, body[:where] + struct.pack(">L", draw.choice(NUMBERS)) + body[where + 4 :]
    made = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        check = zlib.crc32(kind + body) ^ (draw.random() < 0.05)
        made += struct.pack(">L", len(body)) + kind + body + struct.pack(">L", check)
    return made


def jpeg_segments(draw: random.Random, data: bytes) -> bytes:
    """Segments left out, doubled, changed or invented before the pixels; also other folders of EXIF."""
    segments, position = [], 2
    while position + 4 <= len(data) and data[position + 1] != 0xDA:
        size = int.from_bytes(data[position + 2 : position + 4], "big")
        segments.append(data[position : position + 2 + size])
        position += 2 + size
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(segments))
        what = draw.randrange(5)
        if what == 0:
            segments.insert(at, segments[draw.randrange(len(segments))])
        elif what == 1 and len(segments) > 1:
            del segments[at]
        elif what == 2:
            head, body = segments[at][:4], segments[at][4:]
            segments[at] = head + noise(draw, body)[: len(body)].ljust(len(body), b"\0")
        elif what == 3:
            body = draw.choice(
                (
                    b"Exif\0\0II*\0\x08\0\0\0",
                    b"Photoshop 3.0\08BIM\x04\x04\0\0",
                    b"ICC_PROFILE\0\1\1",
                    b"MPF\0II*\0\x08\0\0\0",
                    b"Adobe",
                    b"http://ns.adobe.com/xap/1.0/\0<x",
                )
            ) + bytes_of(draw, 60)
            segments.insert(
                at, struct.pack(">BBH", 0xFF, draw.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE)), len(body) + 2) + body
            )
        elif segments[at][4:10] == b"Exif\0\0":
            body = b"Exif\0\0" + tiff_tags(draw, segments[at][10:])
            segments[at] = struct.pack(">BBH", 0xFF, 0xE1, len(body) + 2) + body
    return data[:2] + b"".join(segments) + data[position:]


def riff_chunks(draw: random.Random, data: bytes) -> bytes:
    """Chunks of WebP left out, doubled or changed; lengths in front of them mostly right."""
    chunks, position = [], 12
    while position + 8 <= len(data):
        (size,) = struct.unpack_from("<L", data, position + 4)
        chunks.append((data[position : position + 4], data[position + 8 : position + 8 + size]))
        position += 8 + size + size % 2
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(chunks))
        kind, body = chunks[at]
        what = draw.randrange(4)
        if what == 0 and len(chunks) > 1:
            del chunks[at]
        elif what == 1:
            chunks.insert(draw.randrange(len(chunks)), (kind, body))
        elif what == 2:
            chunks[at] = kind, noise(draw, body)
        else:
            chunks.insert(
                at, (draw.choice((b"EXIF", b"XMP ", b"ICCP", b"ALPH", b"ANIM", b"ANMF", b"VP8X")), bytes_of(draw, 40))
            )
    body = b"".join(kind + struct.pack("<L", len(one)) + one + bytes(len(one) % 2) for kind, one in chunks)
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body


DAMAGES = {"TIFF": tiff_tags, "PNG": png_chunks, "JPEG": jpeg_segments, "WEBP": riff_chunks}


def damaged(samples: dict[str, list[bytes]], kind: str, draw: random.Random) -> bytes:
    data = draw.choice(samples[kind])
    damage = DAMAGES.get(kind)
    if damage is not None and draw.random() < 0.85:
        data = damage(draw, data)
    return noise(draw, data) if damage is None or draw.random() < 0.3 else data


def attempt(data: bytes) -> None:
    """Read all pages, strictly or not, and write what was read."""
    draw = random.Random(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = PictureFile(data, "file", allow_truncated=draw.random() < 0.5, value_range=draw.choice((None, 1, 255)))
        assert file.durations_ms is None or len(file.durations_ms) == len(file) > 1
        for index in range(min(len(file), 3)):
            picture = file.picture(index)
            assert (
                picture.rgb.dtype in (np.uint8, np.uint16)
                and picture.rgb.shape[2] == 3
                and picture.rgb.flags.c_contiguous
            )
            assert picture.alpha is None or picture.alpha.shape == picture.rgb.shape[:2]
            assert picture.alpha is None or picture.alpha.dtype == picture.rgb.dtype
            written = encode(picture, draw.choice(IMAGE_SUFFIXES)).data
            assert PictureFile(written).picture(0).rgb.shape == picture.rgb.shape


@pytest.fixture
def _small(monkeypatch):
    for module in (decoding, mending):
        monkeypatch.setattr(module, "check_size", functools.partial(check_size, max_pixels=MAX_PIXELS))


KINDS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000", "PPM", "AVIF")


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind, samples, fuzz_seconds):
    if kind not in samples:
        pytest.skip("this build of Pillow lacks AVIF")
    seconds = None if fuzz_seconds is None else fuzz_seconds / len(KINDS)
    fuzz(f"pictures/{kind.lower()}", functools.partial(damaged, samples, kind), attempt, seconds, cases=60)


def test_samples_are_read(samples):
    """Else the fuzzers would try what nobody reads."""
    for kind, files in samples.items():
        for data in files:
            assert PictureFile(data, kind).picture(0).rgb.shape[2] == 3
            with pytest.raises(MemGANError):
                PictureFile(data[:20], kind).picture(0)


def test_avif_whose_frames_last_zeroths_of_a_second(samples):
    if "AVIF" not in samples:
        pytest.skip("this build of Pillow lacks AVIF")
    data = bytearray(samples["AVIF"][1])
    time_scale = data.index(b"mdhd") + 4 + 4 + 8 + 8
    data[time_scale : time_scale + 4] = bytes(4)
    with pytest.raises(MemGANError, match="damaged"):
        PictureFile(bytes(data)).picture(0)
