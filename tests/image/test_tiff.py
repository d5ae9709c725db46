"""TIFF pictures of every kind of layout: right pixels, or a refusal that says why."""

import io
import re
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from memgan.errors import ImageError
from memgan.image import decode_picture

HEIGHT, WIDTH = 40, 37


def numbers(channels: int = 3, dtype: str = "u2", seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, channels), dtype=dtype)


def tiff(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"metadata": None, "software": False, **options})
    return file.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize(("compression", "predictor"), [(None, False), ("zlib", True), ("lzma", True)])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_layouts(order, is_big, planes, tile, compression, predictor, dtype):
    wanted = numbers(dtype=dtype)
    given = wanted if planes == "contig" else np.ascontiguousarray(wanted.transpose(2, 0, 1))
    data = tiff(
        given,
        photometric="rgb",
        planarconfig=planes,
        byteorder=order,
        bigtiff=is_big,
        tile=tile,
        rowsperstrip=None if tile else 7,
        compression=compression,
        predictor=predictor,
    )
    picture = decode_picture(data)
    np.testing.assert_array_equal(picture.rgb, wanted)
    assert not picture.is_gray and picture.alpha is None and picture.problems == ()
    assert picture.origin.bit_depth == wanted.dtype.itemsize * 8


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_is_zero(dtype):
    wanted = numbers(1, dtype)[:, :, 0]
    picture = decode_picture(tiff(~wanted, photometric="miniswhite"))
    assert picture.is_gray and picture.rgb.dtype == dtype
    np.testing.assert_array_equal(picture.rgb[:, :, 2], wanted)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha(dtype, channels):
    colors, alpha = numbers(channels, dtype), numbers(1, dtype, seed=1)[:, :, 0]
    alpha[:9] = 0
    photometric = "minisblack" if channels == 1 else "rgb"
    options = {"photometric": photometric, "planarconfig": "contig"}
    picture = decode_picture(tiff(np.dstack([colors, alpha]), extrasamples=["unassalpha"], **options))
    assert picture.is_gray == (channels == 1)
    np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_array_equal(picture.rgb, np.broadcast_to(colors, picture.rgb.shape))

    peak = np.iinfo(dtype).max
    multiplied = np.rint(colors * (alpha / peak)[:, :, None]).astype(dtype)
    picture = decode_picture(tiff(np.dstack([multiplied, alpha]), extrasamples=["assocalpha"], **options))
    np.testing.assert_array_equal(picture.alpha, alpha)
    seen = alpha > peak // 4  # where less is seen, rounding has lost more
    assert np.abs(picture.rgb.astype(int) - colors)[seen].max() <= 4
    assert not picture.rgb[:9].any()


def test_channels_of_unknown_meaning_are_left_out_with_a_word():
    given = numbers(5)
    picture = decode_picture(tiff(given, photometric="rgb", planarconfig="contig", extrasamples=["unspecified"] * 2))
    np.testing.assert_array_equal(picture.rgb, given[:, :, :3])
    assert picture.alpha is None and picture.problems == ("2 channels of unknown meaning were left out",)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_count_from_0_to_1(dtype, channels):
    wanted = numbers(channels) // 4096 * 4096
    data = tiff((wanted / 65535).astype(dtype).squeeze(), photometric="rgb" if channels == 3 else "minisblack")
    picture = decode_picture(data)
    assert picture.rgb.dtype == np.uint16 and picture.is_gray == (channels == 1)
    assert np.abs(picture.rgb.astype(int) - wanted).max() <= (32 if dtype == "f2" else 0)


def test_floats_with_a_predictor():
    wanted = numbers(1)[:, :, 0].astype(np.float32) / 65535
    file = io.BytesIO()
    Image.fromarray(wanted).save(file, "TIFF", compression="tiff_lzw", tiffinfo={317: 3})
    np.testing.assert_array_equal(decode_picture(file.getvalue()).rgb[:, :, 0], np.rint(wanted * 65535))


def test_floats_that_overshoot_are_clipped_with_a_word():
    given = np.linspace(-0.09, 1.1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    picture = decode_picture(tiff(given, photometric="minisblack"))
    np.testing.assert_array_equal(picture.rgb[:, :, 0], np.rint(np.clip(given.astype(float), 0, 1) * 65535))
    assert picture.problems == ("values from -0.09 to 1.1 were clipped to 0..1",)


@pytest.mark.parametrize(("given", "low"), [(numbers(1, "i2") - 2**14, -16), (numbers(1, "u1").astype("f4"), 0)])
def test_values_without_a_stated_white_are_refused_or_told(given, low):
    data = tiff(given.squeeze(), photometric="minisblack")
    with pytest.raises(ImageError, match=rf"scan.tif is a TIFF with values from {low}.*value_range"):
        decode_picture(data, "scan.tif")
    if low == 0:
        picture = decode_picture(data, value_range=255)
        np.testing.assert_array_equal(picture.rgb[:, :, 0], given[:, :, 0].astype(np.uint16) * 257)
        stated = tiff(given.squeeze(), photometric="minisblack", extratags=[(341, "f", 1, 255.0, True)])
        np.testing.assert_array_equal(decode_picture(stated).rgb, picture.rgb)


def test_32_bit():
    given = numbers(1, "u4").squeeze()
    picture = decode_picture(tiff(given, photometric="minisblack"))
    np.testing.assert_array_equal(picture.rgb[:, :, 0], np.rint(given * (65535 / (2**32 - 1))))


def test_12_bit():
    """Two numbers in three bytes."""
    given = (numbers(1) >> 4).squeeze()[:, :36]
    digits = (given[:, :, None] >> np.arange(11, -1, -1) & 1).astype(np.uint8)
    rows = np.packbits(digits.reshape(HEIGHT, -1), axis=1).tobytes()
    entries = {256: 36, 257: HEIGHT, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: HEIGHT}
    entries[279] = len(rows)
    folder = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in entries.items())
    data = struct.pack("<2sHLH", b"II", 42, 8, len(entries)) + folder + bytes(4) + rows
    np.testing.assert_array_equal(decode_picture(data).rgb[:, :, 1], np.rint(given * (65535 / 4095)))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_cmyk(dtype):
    peak = np.iinfo(dtype).max
    given = np.zeros((HEIGHT, WIDTH, 4), dtype)
    given[:20] = (peak, 0, 0, 0)
    given[-1] = (0, 0, 0, peak)
    picture = decode_picture(tiff(given, photometric="separated"))
    assert [picture.rgb[row, 0].tolist() for row in (0, 20, -1)] == [[0, 255, 255], [255, 255, 255], [0, 0, 0]]
    with pytest.raises(ImageError, match="inks that are not cyan"):
        decode_picture(tiff(given.astype("u2"), photometric="separated", extratags=[(332, "H", 1, 2, True)]))


@pytest.mark.parametrize(
    ("photometric", "dtype"), [("cielab", "u1"), ("cielab", "u2"), ("icclab", "u1"), ("icclab", "u2")]
)
def test_lab(photometric, dtype):
    """The red of sRGB has L*a*b* (D50) of 54.3, 80.8, 69.9; that of D65 is 53.2, 80.1, 67.2."""
    unit = 256 if dtype == "u2" else 1
    offset = 128 if photometric == "icclab" else 0
    given = np.zeros((HEIGHT, WIDTH, 3), dtype)
    given[:] = (54 / 100 * np.iinfo(dtype).max, (offset + 80) * unit, (offset + 68) * unit)
    given[0] = (np.iinfo(dtype).max, offset * unit, offset * unit)
    picture = decode_picture(tiff(given, photometric=photometric))
    scale = picture.peak / 255
    assert np.abs(picture.rgb[5, 5] / scale - (254, 10, 10)).max() < 14 and picture.icc_profile is None
    assert (picture.rgb[0, 0] / scale).min() > 252


def test_palettes():
    indices = numbers(1).squeeze()
    colors = np.random.default_rng(2).integers(0, 65536, (3, 65536)).astype(np.uint16)
    picture = decode_picture(tiff(indices, photometric="palette", colormap=colors))
    np.testing.assert_array_equal(picture.rgb, colors.T[indices])
    few = indices.astype(np.uint8)
    picture = decode_picture(tiff(few, photometric="palette", colormap=colors[:, :256] // 257 * 257))
    np.testing.assert_array_equal(picture.rgb, colors.T[few] // 257)
    assert picture.rgb.dtype == np.uint8


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_orientation_is_applied_once_and_notes_are_kept(dtype, orientation):
    upright = numbers(3, dtype)
    stored = np.ascontiguousarray(np.rot90(upright, {3: 2, 6: 1}[orientation]))
    tags = [(274, "H", 1, orientation, True), (315, "s", 0, "Ada", True)]
    picture = decode_picture(tiff(stored, photometric="rgb", extratags=tags))
    np.testing.assert_array_equal(picture.rgb, upright)
    exif = Image.Exif()
    exif.load(picture.exif)
    assert exif[315] == "Ada" and 274 not in exif


RAW = {
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(60),
    "CR3": b"\0\0\0\x18ftypcrx " + bytes(60),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(60),
    "ORF": b"IIRO\x08\0\0\0" + bytes(60),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(60),
    "DNG": tiff(numbers(dtype="u1"), photometric="rgb", subfiletype=1, extratags=[(50706, "B", 4, (1, 4, 0, 0), True)]),
    "NEF": tiff(numbers(dtype="u1"), photometric="rgb", subfiletype=1),
    "sensor": tiff(numbers(1).squeeze(), photometric="cfa", extratags=[(33421, "H", 2, (2, 2), True)]),
}


@pytest.mark.parametrize("kind", RAW)
def test_raw_files_are_refused_with_a_remedy(kind):
    with pytest.raises(ImageError, match=r"^photo (holds the raw data|shows a preview).*raw converter"):
        decode_picture(RAW[kind], "photo")


def test_previews_are_no_pages():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(numbers(dtype="u1"), photometric="rgb", subfiletype=1, metadata=None)
        writer.write(numbers(seed=3), photometric="rgb", metadata=None)
        writer.write(numbers(1, "u1").squeeze(), photometric="minisblack", subfiletype=3, metadata=None)
    picture = decode_picture(file.getvalue())
    np.testing.assert_array_equal(picture.rgb, numbers(seed=3))
    assert picture.problems == ()


def test_what_is_not_understood_is_refused():
    cases = {
        "compression 1": tiff(numbers(), photometric="rgb"),
        "of photometric interpretation 9999": tiff(numbers(), photometric="rgb"),
    }
    patched = {"compression 1": (259, 34712), "of photometric interpretation 9999": (262, 9999)}
    for message, data in cases.items():
        tag, value = patched[message]
        place = data.index(struct.pack("<HH", tag, 3))
        data = data[: place + 8] + struct.pack("<H", value) + data[place + 10 :]
        with pytest.raises(ImageError, match=message.replace("compression 1", "compression 34712")):
            decode_picture(data)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_cut_off(dtype, compression):
    wanted = numbers(dtype=dtype)
    data = tiff(wanted, photometric="rgb", rowsperstrip=4, compression=compression)
    cut = data[: len(data) * 3 // 4]
    with pytest.raises(ImageError, match="truncated"):
        decode_picture(cut)
    picture = decode_picture(cut, allow_truncated=True)
    np.testing.assert_array_equal(picture.rgb[:24], wanted[:24])
    assert not picture.rgb[-8:].any() and re.match("truncated: [23]", picture.problems[0])
