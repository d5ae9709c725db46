"""Large pictures: allowed up to 2^28 pixels, refused above before anything is decoded, with memory that is known."""

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from memgan.errors import ImageError
from memgan.image import MAX_PIXELS, check_size, decode_picture, from_array

PEAK = """
import io, sys
from pathlib import Path
import numpy as np
from fakes import FakeDetector, FakeNetwork, face_at
from PIL import Image
from memgan import MemGANRestorer
from memgan.image import load_picture, save_picture

def memory(field):
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

restorer = MemGANRestorer(
    network=FakeNetwork(0.5), detector=FakeDetector(face_at(3000, 3000, 400)), device="cpu", upscale=1
)
restorer.restore(np.zeros((4000, 4000, 3), np.uint8))
start = memory("VmRSS")
for step in ("load", "restore", "save"):
    Path("/proc/self/clear_refs").write_text("5")
    if step == "load":
        picture = load_picture(sys.argv[1])
    elif step == "restore":
        result = restorer.restore(picture).picture
    else:
        save_picture(result, sys.argv[1])
    print((memory("VmHWM") - start) / (picture.rgb.size // 3))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bytes_per_pixel_of_large_pictures(tmp_path):
    path = tmp_path / "large.jpg"
    ramp = np.add.outer(np.arange(6000), np.arange(8000)).astype(np.uint8)
    Image.fromarray(np.dstack([ramp, ramp[::-1], ramp])).save(path, quality=80)
    code = [sys.executable, "-c", PEAK, str(path)]
    done = subprocess.run(code, capture_output=True, text=True, cwd="tests", check=True)
    load, restore, save = map(float, done.stdout.split())
    # Input, result, and the copy that the stand-in for the detector keeps; then Pillow's copy and the file.
    assert load < 8 and restore < 10 and save < 14, done.stdout


def test_sizes():
    check_size(2**14, 2**14)
    check_size(65535, 4096)
    check_size(12000, 9000)
    for width, height, remedy in ((2**14, 2**14 + 1, "shrink"), (65536, 100, "shrink"), (15, 900, "enlarge")):
        with pytest.raises(ImageError, match=rf"{width} x {height} pixels.*268435456 pixels in all; {remedy}"):
            check_size(width, height)
    check_size(2**15, 2**14, max_pixels=2**29)
    assert MAX_PIXELS == 2**28


def test_results_of_an_upsampler_may_be_larger_than_inputs():
    wide = np.broadcast_to(np.uint8(9), (16, 20000))
    assert from_array(wide, max_pixels=16 * 20000).rgb.shape == (16, 20000, 3)
    with pytest.raises(ImageError, match="at most 319999 pixels"):
        from_array(wide, max_pixels=16 * 20000 - 1)


def png(width: int, height: int) -> bytes:
    chunks = b""
    for kind, body in (
        (b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<LLLLLLHHLLLLLL", 90, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(60)


def tiff(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (20, 20)).save(file, "TIFF")
    data = bytearray(file.getvalue())
    for tag, value in ((256, width), (257, height)):
        entry = (
            data.index(struct.pack("<H", tag) + b"\4\0")
            if struct.pack("<H", tag) + b"\4\0" in data
            else data.index(struct.pack("<HH", tag, 3))
        )
        struct.pack_into("<HHLL", data, entry, tag, 4, 1, value)
    return bytes(data)


def gif(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\2\0;"
    )


@pytest.mark.parametrize("make", [png, bmp, tiff, gif])
def test_bombs_are_refused_before_they_are_decoded(make):
    with pytest.raises(
        ImageError, match=r"photo is 60000 x 50000 pixels; allowed are|far more pixels than are allowed"
    ):
        decode_picture(make(60000, 50000), "photo")


def test_pngs_whose_pixels_unpack_to_more_than_they_say():
    body = zlib.compress(bytes(50_000_000), 1)
    data = png(20, 20).replace(png(20, 20)[33:], b"")
    data += struct.pack(">L", len(body)) + b"IDAT" + body + struct.pack(">L", zlib.crc32(b"IDAT" + body) ^ 1)
    tracemalloc.start()
    picture = decode_picture(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    assert picture.rgb.shape == (20, 20, 3) and not picture.rgb.any()
