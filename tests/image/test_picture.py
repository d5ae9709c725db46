import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from memgan.errors import ConfigError, ImageError, OutputError, ShapeError
from memgan.image import (
    IMAGE_SUFFIXES,
    Picture,
    from_array,
    load_picture,
    open_picture,
    resize,
    save_picture,
    to_8bit,
    to_array,
    to_tensor,
    to_uint8,
)
from memgan.runtime.picture_formats import PICTURE_FORMATS


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_arrays_survive_the_round_trip(dtype, color, shape):
    array = noise(*shape, dtype=dtype)
    back = to_array(from_array(array, color), color)
    assert back.dtype == dtype and np.array_equal(back, array)


def test_color_order_and_gray():
    array = noise(20, 30, 3)
    assert np.array_equal(from_array(array).rgb, array[:, :, ::-1])
    assert np.array_equal(from_array(array, "rgb").rgb, array)
    gray = from_array(array[:, :, :1])
    assert gray.is_gray and np.array_equal(gray.rgb[:, :, 2], array[:, :, 0]) and to_array(gray).shape == (20, 30)
    with pytest.raises(ConfigError, match=r"'xyz'.*bgr"):
        from_array(array, "xyz")


@pytest.mark.parametrize("view", [np.s_[::-1, ::-1], np.s_[:, :, ::-1], np.s_[::2, ::2]])
def test_strided_arrays_are_copied_to_contiguous_ones(view):
    array = noise(64, 64, 3)[view]
    picture = from_array(array, "rgb")
    assert picture.rgb.flags.c_contiguous and np.array_equal(picture.rgb, array)
    assert not np.shares_memory(picture.rgb, array)
    fortran = np.asfortranarray(array)
    assert np.array_equal(from_array(fortran, "rgb").rgb, array)


def test_uint16_is_never_taken_for_8_bit():
    dark = noise(20, 20, 3).astype(np.uint16)  # no value above 255
    picture = from_array(dark)
    assert picture.peak == 65535 and to_8bit(picture.rgb).max() <= 1
    assert to_8bit(np.array([0, 128, 129, 257, 65535], np.uint16)).tolist() == [0, 0, 1, 1, 255]
    assert np.array_equal(to_8bit(np.arange(256, dtype=np.uint16) * 257), np.arange(256))


def test_floats_count_0_to_255():
    array = noise(20, 20, 3).astype(np.float64)
    assert np.array_equal(to_array(from_array(array + 0.3)), array.astype(np.uint8))
    assert not to_array(from_array(np.zeros((20, 20, 3), np.float32))).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((0, 0, 3), np.uint8), "0 x 0"),
        (np.zeros((1, 1, 3), np.uint8), "1 x 1.*enlarge"),
        (np.zeros((20, 70000, 3), np.uint8), "70000.*shrink"),
        (np.broadcast_to(np.uint8(0), (17000, 17000)), "268435456"),
        (np.full((20, 20, 3), np.nan, np.float32), "NaN"),
        (np.full((20, 20, 3), np.inf), "NaN or infinite"),
        (np.full((20, 20, 3), -9.0), "-9"),
        (np.full((20, 20, 3), 0.4), "multiply it by 255"),
        (np.full((20, 20, 3), 1.0000001), "multiply it by 255"),
        (np.linspace(-0.09, 1.1, 1200).reshape(20, 20, 3), r"-0\.09 to 1\.1, which looks like a 0\.\.1"),
        (np.zeros((20, 20, 3), np.int64), "int64.*value_range"),
        (np.zeros((20, 20, 5), np.uint8), r"\(20, 20, 5\)"),
        (np.zeros((2, 20, 20, 3), np.uint8), "one by one"),
        (np.zeros((3, 20, 20), np.uint8), "channels last"),
        (torch.zeros(2, 3, 20, 20), r"tensor of shape \(2, 3, 20, 20\).*one by one"),
        (torch.full((3, 20, 20), -0.9), r"tensor has values from -0\.9.*0\.\.1"),
        (torch.full((3, 20, 20), 200.0), "tensor has values.*value_range"),
        (torch.zeros(3, 20, 20, dtype=torch.int64), "int64"),
        (None, "NoneType"),
        (Image.new("I", (20, 20)), "'I'.*value_range=65535"),
        (Image.new("F", (20, 20), 0.5), "value_range=1"),
    ],
)
def test_bad_arrays_are_named(given, message):
    with pytest.raises(ImageError, match=message):
        open_picture(given)


def test_pil_pictures():
    rgb = noise(20, 30, 3)
    assert np.array_equal(open_picture(Image.fromarray(rgb)).rgb, rgb)
    assert open_picture(Image.fromarray(rgb[:, :, 0])).is_gray
    palette = open_picture(Image.fromarray(rgb).quantize(8))
    assert palette.rgb.shape == (20, 30, 3) and palette.alpha is None
    rgba = np.dstack([rgb, noise(20, 30, seed=1)])
    assert np.array_equal(to_array(open_picture(Image.fromarray(rgba)), "rgb"), rgba)
    la = open_picture(Image.fromarray(rgba).convert("LA"))
    assert la.is_gray and np.array_equal(la.alpha, rgba[:, :, 3])


def test_tensors():
    rgb = noise(20, 30, 3)
    tensor = to_tensor(rgb)
    assert tensor.shape == (3, 20, 30) and tensor.dtype == torch.float32
    assert tensor.min() >= -1 and tensor.max() <= 1 and tensor[0, 0, 0] == pytest.approx(rgb[0, 0, 0] / 127.5 - 1)
    assert np.array_equal(to_uint8(tensor), rgb)
    assert np.array_equal(to_uint8(torch.stack([tensor, -tensor]))[0], rgb)
    assert to_uint8(torch.tensor([-9.0, 0.0, 9.0]).view(3, 1, 1)).ravel().tolist() == [0, 128, 255]
    assert np.allclose(to_tensor(rgb.astype(np.uint16) * 257), tensor, atol=1e-6)
    with pytest.raises(ShapeError):
        to_tensor(rgb[:, :, 0])
    with pytest.raises(ShapeError):
        to_uint8(torch.zeros(1, 20, 30))
    with pytest.raises(ImageError):
        to_tensor(rgb.astype(np.float32))


def test_resize_keeps_type_and_edges():
    ramp = np.tile(np.linspace(1000, 60000, 64).astype(np.uint16)[:, None, None], (1, 64, 3))
    assert resize(ramp, 160, 160).dtype == np.uint16
    assert np.abs(resize(resize(ramp, 160, 160), 64, 64).astype(int) - ramp)[4:-4].max() < 60
    assert resize(ramp, 64, 64) is not ramp


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("kind", ["color", "gray", "alpha"])
def test_files_round_trip(tmp_path, suffix, kind):
    small = noise(4, 5, 3) // 2 + 60
    rgb = np.repeat(np.repeat(small[:, :, :1] if kind == "gray" else small, 8, 0), 8, 1)
    picture = from_array(rgb, "rgb")
    if kind == "alpha":
        picture = Picture(rgb=rgb, alpha=noise(32, 40, seed=2))
    path = tmp_path / f"fotografía ñ 漢字{suffix}"
    save_picture(picture, path)
    back = load_picture(path)
    fates = next(form.fates for form in PICTURE_FORMATS if suffix in form.suffixes)
    lossy = suffix not in (".png", ".tif", ".tiff", ".bmp")
    if not (kind == "alpha" and suffix in (".webp", ".gif")):  # colors under full transparency are not stored
        assert np.abs(back.rgb.astype(int) - picture.rgb).mean() <= (6 if lossy else 0)
    wanted = kind == "gray" and fates["gray"].kind == "kept"
    assert back.is_gray == wanted
    keeps_alpha = kind == "alpha" and fates["alpha"].kind == "kept"
    assert (back.alpha is not None) == keeps_alpha or suffix == ".gif"
    if keeps_alpha:
        assert np.abs(back.alpha.astype(int) - picture.alpha).mean() <= (6 if suffix in (".avif", ".jp2") else 0)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_files_round_trip(tmp_path, suffix, channels):
    array = noise(20, 30, channels, dtype=np.uint16)
    path = tmp_path / f"deep{suffix}"
    save_picture(from_array(array), path)
    assert np.array_equal(to_array(load_picture(path)).reshape(array.shape), array)


def test_16_bit_png_keeps_its_profile(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Picture(rgb=noise(20, 30, 3, dtype=np.uint16), icc_profile=profile)
    save_picture(picture, tmp_path / "deep.png")
    back = load_picture(tmp_path / "deep.png")
    assert back.icc_profile == profile and np.array_equal(back.rgb, picture.rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_orientation(tmp_path, orientation, dtype):
    upright = noise(20, 30, 3, dtype=dtype)
    # What the camera stored, so that the EXIF operation restores the upright picture.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    if dtype == np.uint8:
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    else:
        save_picture(from_array(stored, "rgb"), path)
        data = path.read_bytes()
        body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(data[:33] + chunk + data[33:])
    assert np.array_equal(load_picture(path).rgb, upright)


def test_damaged_profiles_are_reported_and_left_out(tmp_path):
    rgb = noise(20, 30, 3)
    Image.fromarray(rgb).save(tmp_path / "damaged.png", icc_profile=b"no profile at all")
    picture = load_picture(tmp_path / "damaged.png")
    assert "profile is unusable" in picture.problems[0]
    assert np.array_equal(picture.rgb, rgb) and picture.icc_profile is None
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(rgb).save(tmp_path / "lab.png", icc_profile=lab)
    picture = load_picture(tmp_path / "lab.png")
    assert picture.icc_profile is None and "unusable for RGB" in picture.problems[0]


def test_unusable_files_are_named(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(whole, "PNG")
    deep = tmp_path / "deep.png"
    save_picture(from_array(noise(64, 64, 3, dtype=np.uint16)), deep)
    jpeg = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(jpeg, "JPEG")
    wide = io.BytesIO()
    Image.new("L", (70000, 20)).save(wide, "PNG")
    cases = {
        "cut.png": (whole.getvalue()[:3000], "truncated: the lower 76 % are missing.*allow_truncated"),
        "cut16.png": (deep.read_bytes()[:9000], "truncated: the lower .* % are missing"),
        "cut.jpg": (jpeg.getvalue()[:900], "truncated"),
        "empty.png": (b"", "empty"),
        "text.png": (b"This is no picture.", "not a picture"),
        "wide.png": (wide.getvalue(), "70000 x 20"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=message) as caught:
            load_picture(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(ImageError, match="is a folder"):
        load_picture(tmp_path)
    with pytest.raises(ImageError, match="does not exist"):
        load_picture(tmp_path / "missing.png")


def test_failed_writes_leave_nothing(tmp_path, monkeypatch):
    picture = from_array(noise(20, 30, 3))
    with pytest.raises(OutputError, match=r"'\.psd'.*\.png"):
        save_picture(picture, tmp_path / "x.psd")
    with pytest.raises(OutputError, match="folder exists"):
        save_picture(picture, tmp_path / "missing" / "x.png")
    with pytest.raises(OutputError, match="use PNG"):
        save_picture(from_array(noise(16, 17000)), tmp_path / "x.webp")
    kept = tmp_path / "kept.png"
    save_picture(picture, kept)
    before = kept.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left"):
        save_picture(from_array(noise(20, 30, 3, seed=5)), kept)
    assert os.listdir(tmp_path) == ["kept.png"] and kept.read_bytes() == before
