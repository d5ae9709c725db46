"""Cut-off and slightly damaged files: what is whole is read with a word, what is cut is named, unless one insists."""

import io
import struct
import zlib

import numpy as np
import pytest
from fakes import FakeDetector, scene
from PIL import Image, PngImagePlugin, features
from tiny import save_tiny_weights

from memgan.apps.cli import main as cli
from memgan.errors import ImageError
from memgan.image import Picture, decode_picture, encode_picture, load_picture, open_pages

RGB = scene(96, 120)
WHOLE = "its end is cut off, but nothing of the picture is missing"


def file(kind: str, image: np.ndarray = RGB, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


JPEGS = {
    "baseline": file("JPEG", quality=90),
    "restarts": file("JPEG", quality=90, restart_marker_rows=1),
    "progressive": file("JPEG", quality=90, progressive=True),
    "gray": file("JPEG", RGB[:, :, 0], quality=90),
    "subsampled": file("JPEG", quality=90, subsampling=2),
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("cut", [1, 2])
def test_jpeg_without_its_end(kind, cut):
    whole = decode_picture(JPEGS[kind])
    picture = decode_picture(JPEGS[kind][:-cut])
    np.testing.assert_array_equal(picture.rgb, whole.rgb)
    assert whole.problems == () and picture.problems == (WHOLE,)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("share", [0.55, 0.8, 0.97])
def test_jpeg_that_is_cut(kind, share):
    data = JPEGS[kind]
    cut = data[: int(len(data) * share)]
    with pytest.raises(ImageError, match=r"photo is truncated: .* missing .*--allow-truncated"):
        decode_picture(cut, "photo")
    picture = decode_picture(cut, allow_truncated=True)
    whole = decode_picture(data)
    assert "truncated: " in picture.problems[0] and picture.rgb.shape == RGB.shape
    if kind != "progressive":
        lower = int(picture.problems[0].split("lower ")[1].split(" %")[0]) / 100
        there = int(96 * (1 - lower)) // 16 * 16 - 16  # full blocks, one of which smooths its chroma with the next
        assert abs(1 - lower - share) < 0.25
        np.testing.assert_array_equal(picture.rgb[: max(there, 0)], whole.rgb[: max(there, 0)])


def test_progressive_jpeg_that_ends_between_two_scans():
    data = JPEGS["progressive"]
    scans = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    with pytest.raises(ImageError, match="truncated: its fine details are missing"):
        decode_picture(data[: scans[-1]])
    picture = decode_picture(data[: scans[-1]], allow_truncated=True)
    assert 0 < np.abs(picture.rgb.astype(int) - decode_picture(data).rgb).mean() < 20


PNGS = {
    "8 bit": file("PNG"),
    "palette": file("PNG", np.asarray(Image.fromarray(RGB).quantize(16))),
    "alpha": file("PNG", np.dstack([RGB, RGB[:, :, 0]])),
    "16 bit": encode_picture(Picture(RGB.astype(np.uint16) * 257), ".png"),
}


def interlaced() -> bytes:
    """Pillow does not write the seven passes."""
    rows = b""
    for x, y, step_x, step_y in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in RGB[y::step_y, x::step_x])
    header = struct.pack(">LLBBBBB", 120, 96, 8, 2, 0, 0, 1)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, *zip(*chunks)))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


PNGS["interlaced"] = interlaced()


@pytest.mark.parametrize("kind", PNGS)
def test_png_that_is_cut(kind):
    data = PNGS[kind]
    whole = decode_picture(data)
    for lost in (4, 12):  # of the chunk that ends the file
        picture = decode_picture(data[:-lost])
        np.testing.assert_array_equal(picture.rgb, whole.rgb)
        assert picture.problems == (WHOLE,)
    assert whole.problems == () == decode_picture(data + bytes(50)).problems, "what follows the end is not of the file"
    cut = data[: int(len(data) * 0.7)]
    with pytest.raises(ImageError, match=r"truncated: the lower \d+ % are missing"):
        decode_picture(cut)
    picture = decode_picture(cut, allow_truncated=True)
    assert picture.rgb.dtype == whole.rgb.dtype and (picture.alpha is None) == (whole.alpha is None)
    if kind != "interlaced":
        np.testing.assert_array_equal(picture.rgb[:48], whole.rgb[:48])


def test_an_animated_png_that_is_cut(tmp_path):
    frames = [Image.fromarray(scene(40, 56, seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    data = (tmp_path / "a.png").read_bytes()
    last = data.rindex(b"fcTL") - 4
    (tmp_path / "a.png").write_bytes(data[:last])
    with pytest.raises(ImageError, match=r"a.png is truncated: 1 of its 3 frames are missing .*--allow-truncated"):
        open_pages(tmp_path / "a.png")
    pages = open_pages(tmp_path / "a.png", allow_truncated=True)
    for page, frame in zip(pages, frames[:2], strict=True):
        np.testing.assert_array_equal(page.rgb, np.asarray(frame))
        assert page.problems == ("truncated: 1 of its 3 frames are missing",)


@pytest.mark.parametrize("kind", PNGS)
def test_png_with_wrong_checksums(kind):
    data = PNGS[kind]
    whole = decode_picture(data)
    text = chunk(b"tEXt", b"Comment\0hello")
    noted = data[:33] + text[:-1] + bytes([text[-1] ^ 1]) + data[33:]
    picture = decode_picture(noted)
    np.testing.assert_array_equal(picture.rgb, whole.rgb)
    assert "the checksum of its chunk 'tEXt' is wrong" in picture.problems
    wrong = bytearray(data)
    wrong[-13] ^= 1  # of the pixels' last chunk; their own checksum is right
    np.testing.assert_array_equal(decode_picture(bytes(wrong)).rgb, whole.rgb)
    wrong = bytearray(data)
    wrong[23] ^= 1  # of the header: the height is not certain
    with pytest.raises(ImageError, match="truncated or damaged"):
        decode_picture(bytes(wrong))


def test_png_with_long_texts():
    notes = PngImagePlugin.PngInfo()
    notes.add_text("story", "a" * 3_000_000, zip=True)
    notes.add_text("short", "b")
    picture = decode_picture(file("PNG", pnginfo=notes))
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert {text.keyword: len(text.text) for text in picture.notes.text} == {"story": 3_000_000, "short": 1}


def test_bmp_that_is_cut():
    data = file("BMP")
    with pytest.raises(ImageError, match="truncated: 25 % of its rows are missing"):
        decode_picture(data[: -len(RGB.tobytes()) // 4])
    picture = decode_picture(data[: -len(RGB.tobytes()) // 4], allow_truncated=True)
    np.testing.assert_array_equal(picture.rgb[24:], RGB[24:])


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "JPEG2000", *(["AVIF"] if features.check("avif") else [])])
def test_other_kinds_are_refused_even_then(kind):
    data = file(kind)
    for allow in (False, True):
        with pytest.raises(ImageError, match="photo is truncated or damaged"):
            decode_picture(data[: len(data) * 3 // 4], "photo", allow_truncated=allow)


@pytest.mark.parametrize("deep", [False, True])
def test_decoders_write_nothing_to_the_streams(deep, capfd):
    data = PNGS["16 bit" if deep else "8 bit"]
    for cut in (data[:-300], data[:200] + bytes(200) + data[400:], JPEGS["baseline"][:-300]):
        for allow in (False, True):
            try:
                decode_picture(cut, allow_truncated=allow)
            except ImageError:
                continue
    assert capfd.readouterr() == ("", "")


def test_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("memgan.restoration.restorer.create_detector", lambda name, **options: FakeDetector())
    weights = save_tiny_weights(tmp_path / "tiny.safetensors")
    (tmp_path / "in").mkdir()
    for name, data in (("cut.jpg", JPEGS["baseline"][:-900]), ("end.jpg", JPEGS["baseline"][:-2])):
        (tmp_path / "in" / name).write_bytes(data)
    files = [str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    arguments = ["restore", *files, "--device", "cpu", "--weights", str(weights)]
    assert cli.main(arguments) == 1
    err = capsys.readouterr().err
    assert "cut.jpg" in err and "truncated" in err and WHOLE in err
    assert [path.name for path in (tmp_path / "out" / "restored_imgs").iterdir()] == ["end.jpg"]
    assert cli.main([*arguments, "--allow-truncated", "--upscale", "2"]) == 0
    assert load_picture(tmp_path / "out" / "restored_imgs" / "cut.jpg").rgb.shape == (192, 240, 3)
